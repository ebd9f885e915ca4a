-- Releases runs at the shutdown of a node, so that another node can claim them at once. Arguments: prefix, runs.

local prefix = ARGV[1]
for i = 2, #ARGV do
  local run = ARGV[i]
  redis.call('HDEL', prefix .. 'beats', run)
  if redis.call('EXISTS', prefix .. 'open:' .. run) == 1 then
    redis.call('ZADD', prefix .. 'estates', 0, run)
  else
    redis.call('ZREM', prefix .. 'estates', run)
    redis.call('HDEL', prefix .. 'instances', run)
  end
end
return 1
