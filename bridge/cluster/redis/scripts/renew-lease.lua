-- Renews a lease that its holder still holds. Returns 0 when another holds the lease, or nobody.
--
-- Key: the lease. Arguments: the holder's fence; how long the lease lasts from now on, milliseconds.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
