-- Stores a document, and notifies all nodes.
--
-- Keys: the collection's documents, `expiry`, `notice-count`, perhaps the lease of the writer's task. Arguments: key; `any`, `none` (no document may exist) or
-- `is` (the version must be the wanted one); the wanted version; the document as it is stored; when it expires or "";
-- the time; the document's member of `expiry`; channel; notice; the fence of the lease. Times are milliseconds since 1970.
-- Returns 0 when the condition is not met, and -1 when the writer does not hold the lease.

local documents, expiry, count = KEYS[1], KEYS[2], KEYS[3]
local key, mode, wanted, stored, expires_at, now, member, channel, notice, fence = unpack(ARGV)
if KEYS[4] and redis.call('GET', KEYS[4]) ~= fence then return -1 end
if mode ~= 'any' then
  local version = version_of(redis.call('HGET', documents, key), tonumber(now))
  if mode == 'none' and version then return 0 end
  if mode == 'is' and version ~= wanted then return 0 end
end
redis.call('HSET', documents, key, stored)
if expires_at == '' then redis.call('ZREM', expiry, member) else redis.call('ZADD', expiry, expires_at, member) end
notify(count, channel, notice)
return 1
