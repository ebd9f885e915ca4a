-- Removes a node that stops. Keys: `members`, `about`, `settings`. Argument: the node.

redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
