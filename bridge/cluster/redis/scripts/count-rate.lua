-- Counts an event in a window that starts with its first event.
--
-- Key: the window. Argument: how long it lasts, milliseconds.
-- Returns the events in the window, including this one.

local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
