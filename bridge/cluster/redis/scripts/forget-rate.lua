-- Takes back events of a window. Key: the window. Argument: `one` or `all`.

local count = tonumber(redis.call('GET', KEYS[1]) or 0)
if ARGV[1] == 'all' or count <= 1 then redis.call('DEL', KEYS[1]) else redis.call('DECR', KEYS[1]) end
