-- Gives the journal a new epoch after it lost entries, which makes the cursors of clients invalid. Arguments: prefix,
-- the current epoch, a name for the new epoch. A second call with the same arguments does nothing.

local meta = ARGV[1] .. 'meta'
if redis.call('HGET', meta, 'epoch') == ARGV[2] then redis.call('HSET', meta, 'epoch', ARGV[3]) end
return 1
