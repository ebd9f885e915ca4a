-- Removes retained messages that have expired, if they are still at the positions that the caller knows.
--
-- Arguments: prefix, epoch; then topic and position of each message.
-- Returns `ok`, or `epoch` and the journal's epoch if `epoch` is another one.

local prefix, epoch = ARGV[1], ARGV[2]
local known = redis.call('HGET', prefix .. 'meta', 'epoch')
if known ~= epoch then return {'epoch', known or ''} end
for at = 3, #ARGV, 2 do
  local topic, head = ARGV[at], ARGV[at + 1] .. '\n'
  local value = redis.call('HGET', prefix .. 'retained', topic)
  if value and string.sub(value, 1, #head) == head then
    redis.call('HDEL', prefix .. 'retained', topic)
    redis.call('ZREM', prefix .. 'retained-topics', topic)
  end
end
return {'ok'}
