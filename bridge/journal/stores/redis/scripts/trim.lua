-- Removes entries that exceed a channel's limits on count or age. A chunk that no channel keeps lingers for a while, so
-- that slow nodes can read it, and is then deleted.
--
-- Entries that a reader has not read yet stay, however old (`keepFor` of the journal).
--
-- Arguments: prefix; epoch; the largest number of events of a channel, or -1; the time before which entries are too
-- old, or -1; the number of entries to process in this call; the largest number of channels; how long chunks
-- linger, milliseconds; the largest size of all lingering chunks; this node's readers as JSON: `[[name, position or -1, largest number of events], …]`.
--
-- Returns `ok`, the number of removed entries, which no channel keeps now, 1 when more work remains, and the raised
-- floors as JSON: `[[channel, floor, removed], …]`. Returns `epoch` and the journal's epoch if `epoch` is another one.

local prefix, epoch = ARGV[1], ARGV[2]
local maxEvents, cutoff, budget = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local maxChannels, lingeringMs, maxLingeringBytes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function whole(n) return string.format('%.0f', n) end

local current = redis.call('HGET', prefix .. 'meta', 'epoch')
if current ~= epoch then return {'epoch', current or ''} end

-- Notes this node's readers, and returns the position above which entries are kept for the readers of all nodes.
local function unreadFrom()
  local key, now = prefix .. 'readers', tonumber(redis.call('TIME')[1])
  for _, reader in ipairs(cjson.decode(ARGV[9])) do
    local name, position, keeps = reader[1], reader[2], reader[3]
    if position < 0 then position = tonumber(string.match(redis.call('HGET', key, name) or '0', '^%d+')) end
    redis.call('HSET', key, name, whole(position) .. ' ' .. whole(keeps) .. ' ' .. whole(now))
  end
  local from, rows = math.huge, redis.call('HGETALL', key)
  local head = tonumber(redis.call('HGET', prefix .. 'meta', 'head') or '0')
  for at = 1, #rows, 2 do
    local position, keeps, seen = string.match(rows[at + 1], '(%d+) (%d+) (%d+)')
    if now - tonumber(seen) > 3600 then redis.call('HDEL', key, rows[at])
    else from = math.min(from, math.max(tonumber(position), head - tonumber(keeps))) end
  end
  if from >= head then return from end
  local memory = redis.call('INFO', 'memory')
  local most = tonumber(string.match(memory, '\nmaxmemory:(%d+)') or '0')
  local used = tonumber(string.match(memory, '\nused_memory:(%d+)') or '0')
  if most > 0 and used > 0.75 * most then return math.huge end
  return from
end

local gone, moved, held, unread = 0, {}, {}, unreadFrom()
-- Channels that keep too many entries for a reader.
local waiting, skipped = {}, 0

local function holdersOf(last)
  local holders = held[last]
  if not holders then
    local bytes = redis.call('HGET', prefix .. 'held', last) or ''
    holders = {string.byte(bytes, 1, #bytes)}
    held[last] = holders
  end
  return holders
end

-- Returns true when the channel is trimmed completely, and then, whether it keeps entries for a reader.
local function trim(channel)
  local key = prefix .. 'channel:' .. channel
  local kept = tonumber(redis.call('HGET', prefix .. 'kept', channel) or '0')
  local floor = tonumber(redis.call('HGET', prefix .. 'floors', channel) or '0')
  local before, from, finished, oldest, firstKept, waits = kept, '-', false, nil, nil, false
  while not finished and budget > 0 do
    local rows = redis.call('XRANGE', key, from, '+', 'COUNT', 32)
    for _, row in ipairs(rows) do
      local id, accepted, distances = row[1], tonumber(row[2][1]), row[2][2]
      local lastText = string.match(id, '%d+')
      local last = tonumber(lastText)
      local places = {string.byte(distances, 1, #distances)}
      if last > unread then
        finished, oldest, firstKept, waits = true, accepted, id, true
        break
      end
      local left = 0
      for _, distance in ipairs(places) do
        if last - distance > floor then left = left + 1 end
      end
      local drop = 0
      if accepted < cutoff then drop = left
      elseif maxEvents >= 0 then drop = math.max(0, math.min(left, kept - maxEvents)) end
      local keep = left - drop
      if drop > 0 then
        local holders = holdersOf(lastText)
        local from = floor
        for _, distance in ipairs(places) do
          local position = last - distance
          if drop > 0 and position > from then
            local place = #holders - distance
            holders[place] = holders[place] - 1
            if holders[place] == 0 then gone = gone + 1 end
            floor = position
            kept = kept - 1
            drop = drop - 1
          end
        end
      end
      budget = budget - 1 - (left - keep)
      if keep > 0 then
        finished, oldest, firstKept = true, accepted, id
        break
      end
      from = '(' .. id
      if budget <= 0 then
        firstKept, oldest = whole(last + 1) .. '-0', accepted
        break
      end
    end
    if not finished and #rows < 32 and budget > 0 then
      finished = true
      -- All rows were removed. The count may still be above 0 if Redis evicted rows.
      kept = 0
    end
  end
  if kept < before then
    redis.call('HSET', prefix .. 'floors', channel, whole(floor))
    if kept == 0 then
      redis.call('DEL', key)
      redis.call('ZREM', prefix .. 'oldest', channel)
      local forget = redis.call('HLEN', prefix .. 'kept') > maxChannels / 2
      if forget then
        redis.call('HDEL', prefix .. 'kept', channel)
        redis.call('HDEL', prefix .. 'floors', channel)
        local forgotten = tonumber(redis.call('HGET', prefix .. 'meta', 'forgotten') or '0')
        if floor > forgotten then redis.call('HSET', prefix .. 'meta', 'forgotten', whole(floor)) end
      else
        redis.call('HSET', prefix .. 'kept', channel, '0')
      end
      moved[#moved + 1] = {channel, floor, forget and 1 or 0}
      finished = true
    else
      redis.call('HSET', prefix .. 'kept', channel, whole(kept))
      if firstKept then redis.call('XTRIM', key, 'MINID', firstKept) end
      moved[#moved + 1] = {channel, floor, 0}
    end
  end
  if kept > 0 and oldest then redis.call('ZADD', prefix .. 'oldest', 'XX', oldest, channel) end
  if maxEvents < 0 or kept <= maxEvents then redis.call('SREM', prefix .. 'excess', channel)
  elseif waits then
    redis.call('SREM', prefix .. 'excess', channel)
    waiting[#waiting + 1] = channel
  end
  return finished, waits and kept == before
end

local more = false
while budget > 0 do
  local channel = maxEvents >= 0 and redis.call('SRANDMEMBER', prefix .. 'excess')
  local isTooOld = false
  if not channel and cutoff >= 0 then
    local tooOld = '(' .. whole(cutoff)
    channel = redis.call('ZRANGEBYSCORE', prefix .. 'oldest', '-inf', tooOld, 'LIMIT', skipped, 1)[1]
    isTooOld = true
  end
  if not channel then break end
  budget = budget - 1
  local finished, isUnchanged = trim(channel)
  if not finished then more = true end
  if isTooOld and isUnchanged then skipped = skipped + 1 end
end
if budget <= 0 then more = true end
for _, channel in ipairs(waiting) do redis.call('SADD', prefix .. 'excess', channel) end

local now, lingering = server_time(), prefix .. 'lingering-chunks'
local lingeringBytes = tonumber(redis.call('HGET', prefix .. 'meta', 'lingeringBytes') or '0')
local bytesBefore = lingeringBytes
for last, holders in pairs(held) do
  local isHeld = false
  for _, count in ipairs(holders) do if count > 0 then isHeld = true end end
  if isHeld then redis.call('HSET', prefix .. 'held', last, string.char(unpack(holders)))
  else
    redis.call('HDEL', prefix .. 'held', last)
    local chunk = redis.call('XRANGE', prefix .. 'log', last .. '-0', last .. '-0')[1]
    local bytes = chunk and #chunk[2][4] or 0
    redis.call('RPUSH', lingering, last .. ' ' .. whole(now) .. ' ' .. bytes)
    lingeringBytes = lingeringBytes + bytes
    local ids = redis.call('HGET', prefix .. 'chunk-ids', last)
    if ids then
      for _, id in ipairs(cjson.decode(ids)) do redis.call('HDEL', prefix .. 'ids', id) end
      redis.call('HDEL', prefix .. 'chunk-ids', last)
    end
  end
end
for _, chunk in ipairs(redis.call('LRANGE', lingering, 0, 1000)) do
  local last, since, bytes = string.match(chunk, '(%d+) (%d+) (%d+)')
  if now - tonumber(since) < lingeringMs and lingeringBytes <= maxLingeringBytes then break end
  redis.call('LPOP', lingering)
  redis.call('XDEL', prefix .. 'log', last .. '-0')
  lingeringBytes = lingeringBytes - tonumber(bytes)
end
if lingeringBytes ~= bytesBefore then redis.call('HSET', prefix .. 'meta', 'lingeringBytes', whole(lingeringBytes)) end
-- Versions before kept a number of chunks here, however large and old.
for _, last in ipairs(redis.call('LRANGE', prefix .. 'lingering', 0, 500)) do
  redis.call('LPOP', prefix .. 'lingering')
  redis.call('XDEL', prefix .. 'log', last .. '-0')
end

local floors = #moved == 0 and '[]' or cjson.encode(moved)
if #moved > 0 then redis.call('XADD', prefix .. 'trims', 'MAXLEN', '~', 1000, '*', 'f', floors) end
return {'ok', gone, more and 1 or 0, floors}
