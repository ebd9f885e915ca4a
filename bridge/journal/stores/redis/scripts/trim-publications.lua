-- Removes publications that no live run needs.
--
-- Arguments: prefix; epoch; run; its entry in `publication-floors`: the position up to which the run needs no
-- publications, the newest change of rows that it knew of then, and the position up to which the sessions that are
-- connected to it need none; the sorted set of living nodes; the largest number of rows to remove in this call.
-- Returns `ok`, the floor, the bytes of all removed rows, and 1 when more rows may be removed. Returns `epoch` and the
-- journal's epoch if `epoch` is another one.

local prefix, epoch, run, wanted, members, limit = unpack(ARGV)
local meta = redis.call('HMGET', prefix .. 'meta', 'epoch', 'head', 'publicationFloor', 'publishedBytes', 'trimmedBytes',
  'rowBarrier', 'rowChange')
if meta[1] ~= epoch then return {'epoch', meta[1] or ''} end
local function whole(n) return string.format('%.0f', n) end

local floors = prefix .. 'publication-floors'
redis.call('HSET', floors, run, wanted)
local floor = tonumber(meta[2])
local barrier = tonumber(meta[6] or '0')
local rows = redis.call('HGETALL', floors)
for at = 1, #rows, 2 do
  local other = rows[at]
  local needed, known = string.match(rows[at + 1], '^(%d+) (%d+)')
  if other == run or redis.call('ZSCORE', members, other) or redis.call('SCARD', prefix .. 'mqtt-held:' .. other) > 0 then
    -- A session that the run has taken since may need more.
    if tonumber(redis.call('HGET', prefix .. 'mqtt-taken', other) or '0') > tonumber(known) then needed = 0 end
    floor = math.min(floor, tonumber(needed))
  else
    redis.call('HDEL', floors, other)
    barrier = tonumber(meta[7] or '0')
    redis.call('HSET', prefix .. 'meta', 'rowBarrier', meta[7] or '0')
  end
end
-- Each living run counts what sessions without a connection need, if it knows of them. Those of a run that has ended
-- must have become known.
if tonumber(string.match(wanted, '^%d+ (%d+)')) < barrier then floor = 0 end

local before, trimmed = tonumber(meta[3] or '0'), meta[5] or '0'
if floor < before then floor = before end
local key = prefix .. 'publications'
-- The floor and the rows change in one step, so removed rows never seem to be missing.
local removed = redis.call('XTRIM', key, 'MINID', '~', whole(floor + 1) .. '-0', 'LIMIT', limit)
local compacted = prefix .. 'compacted'
local old = math.min(redis.call('ZCOUNT', compacted, '-inf', whole(floor)), math.floor(limit / 10))
if old > 0 then redis.call('ZREMRANGEBYRANK', compacted, 0, old - 1) end
if floor > before then
  -- The first row that stays says how many bytes were written before it. A compaction has removed bytes after it.
  local first = redis.call('XRANGE', key, '(' .. whole(floor) .. '-0', '+', 'COUNT', 1)[1]
  local bytes = first and string.match(first[2][2], '^%d+ (%d+)') or meta[4] or '0'
  local row = redis.call('ZRANGEBYSCORE', compacted, '(' .. whole(floor), '+inf', 'LIMIT', 0, 1)[1]
  if row then bytes = whole(math.min(tonumber(bytes), tonumber(string.match(row, '^%d+ %d+ (%d+)')))) end
  trimmed = whole(math.max(tonumber(trimmed), tonumber(bytes)))
  redis.call('HSET', prefix .. 'meta', 'publicationFloor', whole(floor), 'trimmedBytes', trimmed)
  redis.call('XADD', prefix .. 'trims', 'MAXLEN', '~', 1000, '*', 'p', whole(floor) .. ' ' .. trimmed)
end
return {'ok', whole(floor), trimmed, (removed >= tonumber(limit) or old >= math.floor(limit / 10)) and 1 or 0}
