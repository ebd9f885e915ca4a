-- Acquires a lease that nobody holds. Returns its fence, or 0. The fence is larger than that of each earlier holder, also
-- after Redis was emptied.
--
-- Keys: the lease, `fences`. Arguments: name of the lease; how long it lasts, milliseconds.

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fence = math.max(tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0) + 1, server_time())
local text = string.format('%.0f', fence)
redis.call('HSET', KEYS[2], ARGV[1], text)
redis.call('SET', KEYS[1], text, 'PX', ARGV[2])
return fence
