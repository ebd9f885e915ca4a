-- Registers connections of a node, without a limit.
--
-- Key: the node's connections. Arguments: prefix; node; then connection and user of each.

local own, prefix, node = KEYS[1], ARGV[1], ARGV[2]
for index = 3, #ARGV, 2 do
  redis.call('HSET', prefix .. 'user:' .. ARGV[index + 1], ARGV[index], node)
  redis.call('HSET', own, ARGV[index], ARGV[index + 1])
end
