-- Registers a connection, unless its user already has as many as the limit allows. Counts only connections of live
-- nodes. Heartbeats remove the connections of dead nodes.
--
-- Keys: `nodes`, the user's connections, the node's connections. Arguments: connection; node; user; limit, or 0 for
-- none; the milliseconds without a heartbeat after which a node is dead.
-- Returns 0 when the connection is refused.

local nodes, user, own = KEYS[1], KEYS[2], KEYS[3]
local connection, node, user_id, limit, timeout = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if limit > 0 then
  local now = server_time()
  local alive = { [node] = true }
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. (now - timeout), '+inf')) do alive[id] = true end
  local count = 0
  local all = redis.call('HGETALL', user)
  for index = 1, #all, 2 do
    if alive[all[index + 1]] and all[index] ~= connection then count = count + 1 end
  end
  if count >= limit then return 0 end
end
redis.call('HSET', user, connection, node)
redis.call('HSET', own, connection, user_id)
return 1
