-- Adds a batch of counts to the sums, once: the number of the node's last batch is stored with them.
--
-- Keys: `sums`, the number of the node's last batch. Arguments: the number of this batch; how long that number is kept,
-- milliseconds; then name and count of each.
-- Returns the sums, and since when they count.

local sums, last, batch, ttl = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2]
local now = server_time()
redis.call('HSETNX', sums, 'since', now)
if batch > tonumber(redis.call('GET', last) or 0) then
  for index = 3, #ARGV, 2 do redis.call('HINCRBY', sums, 'sum:' .. ARGV[index], ARGV[index + 1]) end
  redis.call('SET', last, batch, 'PX', ttl)
end
return redis.call('HGETALL', sums)
