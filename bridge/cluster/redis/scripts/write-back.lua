-- Writes documents that are missing or older in Redis. When several nodes write back, the newest version wins.
--
-- Keys: the collection's documents, `expiry`. Arguments: key, version, stored document, when it expires or "", and
-- member of `expiry`, of each document.
-- Returns the number of written documents.

local documents, expiry = KEYS[1], KEYS[2]
local written = 0
for index = 1, #ARGV, 5 do
  local key, version, stored, expires_at, member = unpack(ARGV, index, index + 4)
  local there = redis.call('HGET', documents, key)
  local other = there and string.match(there, '^(%S+) ')
  if not other or (string.find(version, '~', 1, true) and (not string.find(other, '~', 1, true) or other < version)) then
    redis.call('HSET', documents, key, stored)
    if expires_at == '' then redis.call('ZREM', expiry, member) else redis.call('ZADD', expiry, expires_at, member) end
    written = written + 1
  end
end
return written
