-- Counts an event in each of some windows, which start with their first event.
--
-- Keys: the windows. Arguments: how long they last, milliseconds; for each window the limit of events.
-- Returns for each window 0, or the milliseconds until it ends if this event exceeds its limit.

local exceeded = {}
for i, window in ipairs(KEYS) do
  local count = redis.call('INCR', window)
  if count == 1 then redis.call('PEXPIRE', window, ARGV[1]) end
  exceeded[i] = 0
  if count > tonumber(ARGV[i + 1]) then exceeded[i] = math.max(1, redis.call('PTTL', window)) end
end
return exceeded
