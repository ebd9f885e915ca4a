-- Deletes a document, and notifies all nodes.
--
-- Keys: the collection's documents, `expiry`, `notice-count`. Arguments: key; `any`, or `is` (the version must be the
-- wanted one); the wanted version; the time, milliseconds since 1970; the document's member of `expiry`; channel; notice.
-- Returns 0 when there is no such document.

local documents, expiry, count = KEYS[1], KEYS[2], KEYS[3]
local key, mode, wanted, now, member, channel, notice = unpack(ARGV)
local version = version_of(redis.call('HGET', documents, key), tonumber(now))
if not version or (mode == 'is' and version ~= wanted) then return 0 end
redis.call('HDEL', documents, key)
redis.call('ZREM', expiry, member)
notify(count, channel, notice)
return 1
