-- Counts an event in a window that starts with its first event.
--
-- Key: the window. Arguments: how long it lasts, milliseconds; the limit of events.
-- Returns 0, or the milliseconds until the window ends if this event exceeds the limit.

local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
if count <= tonumber(ARGV[2]) then return 0 end
return math.max(1, redis.call('PTTL', KEYS[1]))
