-- Ends a lease that its holder still holds. Returns 0 when another holds the lease, or nobody.
--
-- Key: the lease. Argument: the holder's fence.

if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
