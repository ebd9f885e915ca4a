-- Removes connections of a node.
--
-- Key: the node's connections. Arguments: prefix; then connection and user of each.

local own, prefix = KEYS[1], ARGV[1]
for index = 2, #ARGV, 2 do
  redis.call('HDEL', prefix .. 'user:' .. ARGV[index + 1], ARGV[index])
  redis.call('HDEL', own, ARGV[index])
end
