-- Writes the heartbeat of this node, and removes nodes without a recent heartbeat. From then on, their registrations do
-- not count. They are deleted in parts, so that Redis is not blocked for long.
--
-- Keys: `nodes`, `gone`, `notice-count`. Arguments: prefix; node; when the node started; the milliseconds without a
-- heartbeat after which a node is dead; the largest number of registrations to delete in this call.
-- Returns 1 when the node was alive before, its registered connections, and the number of notices so far.

local nodes, gone, count = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, started_at, timeout, left = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local now = server_time()
local seen = tonumber(redis.call('ZSCORE', nodes, id) or 0)
redis.call('ZADD', nodes, now, id)
redis.call('HSETNX', prefix .. 'node:' .. id, 'started_at', started_at)
redis.call('ZREM', gone, id)
for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now - timeout)) do
  redis.call('ZREM', nodes, other)
  redis.call('ZADD', gone, now, other)
end
for _, other in ipairs(redis.call('ZRANGE', gone, 0, 9)) do
  local connections = prefix .. 'connections:' .. other
  local some = left > 0 and redis.call('HRANDFIELD', connections, left, 'WITHVALUES') or {}
  for index = 1, #some, 2 do
    redis.call('HDEL', prefix .. 'user:' .. some[index + 1], some[index])
    redis.call('HDEL', connections, some[index])
    left = left - 1
  end
  if redis.call('EXISTS', connections) == 0 then
    redis.call('ZREM', gone, other)
    redis.call('DEL', prefix .. 'node:' .. other)
  end
end
local registered = redis.call('HLEN', prefix .. 'connections:' .. id)
return { seen > now - timeout and 1 or 0, registered, tonumber(redis.call('GET', count) or 0) }
