-- Numbers a notice and sends it to all nodes.
local function notify(count, channel, notice)
  redis.call('PUBLISH', channel, redis.call('INCR', count) .. '\n' .. notice)
end
