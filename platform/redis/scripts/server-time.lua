-- Returns the time of Redis, milliseconds since 1970: all nodes share this clock.
local function server_time()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
