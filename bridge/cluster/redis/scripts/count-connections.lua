-- Key: the living nodes. Argument: prefix. Returns each node and the number of its connections.

local counts = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  counts[#counts + 1] = { id, redis.call('HLEN', ARGV[1] .. 'connections:' .. id) }
end
return counts
