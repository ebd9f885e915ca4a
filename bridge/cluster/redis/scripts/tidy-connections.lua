-- Deletes connections of dead nodes, in parts, so that Redis is not blocked for long. They do not count any more.
--
-- Keys: the living nodes, `nodes` (the nodes that may have connections), `notice-count`. Arguments: prefix; node; the
-- largest number of connections to delete in this call.
-- Returns the number of this node's connections, and of notices so far.

local members, nodes, count = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- From versions before the membership.
if redis.call('EXISTS', prefix .. 'gone') == 1 then
  redis.call('ZUNIONSTORE', nodes, 2, nodes, prefix .. 'gone')
  redis.call('DEL', prefix .. 'gone')
end
redis.call('ZADD', nodes, 0, id)
for _, other in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
  if left > 0 and other ~= id and not redis.call('ZSCORE', members, other) then
    local connections = prefix .. 'connections:' .. other
    local some = redis.call('HRANDFIELD', connections, left, 'WITHVALUES')
    for index = 1, #some, 2 do
      redis.call('HDEL', prefix .. 'user:' .. some[index + 1], some[index])
      redis.call('HDEL', connections, some[index])
      left = left - 1
    end
    if redis.call('EXISTS', connections) == 0 then
      redis.call('ZREM', nodes, other)
      redis.call('DEL', prefix .. 'node:' .. other)
    end
  end
end
return { redis.call('HLEN', prefix .. 'connections:' .. id), tonumber(redis.call('GET', count) or 0) }
