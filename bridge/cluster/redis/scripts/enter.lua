-- Registers a connection, unless its user already has as many as the limit allows. Counts only connections of live
-- nodes.
--
-- Keys: the living nodes, the user's connections, the node's connections. Arguments: connection; node; user; limit, or 0
-- for none.
-- Returns 0 when the connection is refused.

local members, user, own = KEYS[1], KEYS[2], KEYS[3]
local connection, node, user_id, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if limit > 0 then
  local function lives(other) return other == node or redis.call('ZSCORE', members, other) end
  local count = 0
  local all = redis.call('HGETALL', user)
  for index = 1, #all, 2 do
    if all[index] ~= connection and lives(all[index + 1]) then count = count + 1 end
  end
  if count >= limit then return 0 end
end
redis.call('HSET', user, connection, node)
redis.call('HSET', own, connection, user_id)
return 1
