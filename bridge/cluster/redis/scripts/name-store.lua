-- Gives the store a name, unless it has one. Returns the store's name.
--
-- Key: `store-name`. Argument: the name.

redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
