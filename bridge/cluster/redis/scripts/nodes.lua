-- Lists the living nodes.
--
-- Key: `nodes`. Arguments: prefix; the milliseconds without a heartbeat after which a node is dead.
-- Returns of each node: its id, when it started, its last heartbeat, and its connections.

local nodes, prefix, timeout = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = server_time()
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. (now - timeout), '+inf')) do
  found[#found + 1] = {
    id, redis.call('HGET', prefix .. 'node:' .. id, 'started_at') or '0', redis.call('ZSCORE', nodes, id),
    redis.call('HLEN', prefix .. 'connections:' .. id)
  }
end
return found
