-- Removes a node at once. Heartbeats of other nodes delete its registrations.
--
-- Keys: `nodes`, `gone`. Argument: node.

local nodes, gone, id = KEYS[1], KEYS[2], ARGV[1]
local now = server_time()
redis.call('ZREM', nodes, id)
redis.call('ZADD', gone, now, id)
