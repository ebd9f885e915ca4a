-- Deletes a document, and notifies all nodes.
--
-- Keys: the collection's documents, `expiry`, `notice-count`, perhaps the lease of the writer's task. Arguments: key; `any`, or `is` (the version must be the
-- wanted one); the wanted version; the time, milliseconds since 1970; the document's member of `expiry`; channel; notice;
-- the fence of the lease.
-- Returns 0 when there is no such document, and -1 when the writer does not hold the lease.

local documents, expiry, count = KEYS[1], KEYS[2], KEYS[3]
local key, mode, wanted, now, member, channel, notice, fence = unpack(ARGV)
if KEYS[4] and redis.call('GET', KEYS[4]) ~= fence then return -1 end
local version = version_of(redis.call('HGET', documents, key), tonumber(now))
if not version or (mode == 'is' and version ~= wanted) then return 0 end
redis.call('HDEL', documents, key)
redis.call('ZREM', expiry, member)
notify(count, channel, notice)
return 1
