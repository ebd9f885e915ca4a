-- Deletes expired documents. Nodes are not notified: an expired document already counts as deleted.
--
-- Key: `expiry`. Arguments: prefix; the time, milliseconds since 1970; the largest number of documents to delete.

local expiry, prefix, now, max = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
for _, member in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, max)) do
  local collection, key = string.match(member, '^([^!]*)!(.*)$')
  local documents = prefix .. 'documents:' .. collection
  if not version_of(redis.call('HGET', documents, key), now) then redis.call('HDEL', documents, key) end
  redis.call('ZREM', expiry, member)
end
