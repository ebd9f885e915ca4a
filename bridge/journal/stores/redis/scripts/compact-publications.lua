-- Replaces rows of publications by fewer rows, without what no session wants. The run that decided this knows the
-- sessions without a connection. What sessions that are connected to other runs may want stays.
--
-- Arguments: prefix; epoch; run; the newest change of rows that the run knew when it decided what is wanted; the number
-- of creations of groups of shared subscriptions that it knew; the rows above this position and up to the next one are
-- replaced; and, unless the run only asks whether it may: the number of compactions when it read the rows; the bytes that
-- are saved; the size of the removed publications; the number of new rows; position and value of each new row; the ids of
-- the old rows in the stream.
-- Returns `ok` and the number of compactions. Returns `later` when others may want something; `changed` when the rows
-- are not those that the run has read. Returns `epoch` and the journal's epoch if `epoch` is another one.

local prefix, epoch, run, known, shares, after, upTo, expected = unpack(ARGV, 1, 8)
local call = redis.call
local meta = call('HMGET', prefix .. 'meta', 'epoch', 'publicationFloor', 'trimmedBytes', 'rowBarrier', 'compactions',
  'shareVersion')
if meta[1] ~= epoch then return {'epoch', meta[1] or ''} end
known = tonumber(known)
local function whole(n) return string.format('%.0f', n) end

if known < tonumber(meta[4] or '0') or shares ~= (meta[6] or '0') then return {'later'} end
local floors = call('HGETALL', prefix .. 'publication-floors')
for at = 1, #floors, 2 do
  local other = floors[at]
  -- This run knows what the groups of shared subscriptions want.
  if other ~= run and other ~= 'shares' then
    local knows, connected = string.match(floors[at + 1], '^%d+ (%d+) (%d+)$')
    knows, connected = tonumber(knows or '0'), tonumber(connected or '0')
    -- The other run has taken a session since, or this run may not know a session that has left the other run.
    local taken = tonumber(call('HGET', prefix .. 'mqtt-taken', other) or '0')
    if taken > knows or knows > known or connected < tonumber(upTo) then return {'later'} end
  end
end
local compactions = meta[5] or '0'
if not expected then return {'ok', compactions} end
if expected ~= compactions or tonumber(meta[2] or '0') > tonumber(after) then return {'changed'} end

local rows = tonumber(ARGV[11])
local compacted = prefix .. 'compacted'
if #ARGV > 11 + 2 * rows then call('XDEL', prefix .. 'publications', unpack(ARGV, 12 + 2 * rows)) end
call('ZREMRANGEBYSCORE', compacted, '(' .. after, upTo)
if rows > 0 then call('ZADD', compacted, unpack(ARGV, 12, 11 + 2 * rows)) end
local removed = whole(tonumber(meta[3] or '0') + tonumber(ARGV[9]))
compactions = whole(tonumber(compactions) + 1)
call('HSET', prefix .. 'meta', 'trimmedBytes', removed, 'compactions', compactions)
call('XADD', prefix .. 'trims', 'MAXLEN', '~', 1000, '*', 'c', table.concat({run, upTo, ARGV[10], removed}, ' '))
return {'ok', compactions}
