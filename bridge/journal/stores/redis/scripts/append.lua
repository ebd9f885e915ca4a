-- Appends a batch completely or not at all. All checks come before the first write, and Redis rejects this first write
-- when it is out of memory.
--
-- Arguments; each list begins with its length:
-- prefix, epoch, run, batch      the caller's head and stamp      now
-- limits: state topics, events per channel, sessions, sessions per sender, ranges per session
-- fences: key of the lease, number, places in the batch
-- wills: client, place in the batch
-- sessions: sender, name, seqs, places in the batch      ids: key, place in the batch
-- quotas: topic, topic above its owner's topics or "", limit of the owner's topics, limit of all topics, place in the batch.
--   -1: no limit
-- chunks: size, text, holders, ids, publications, retained (topic, place in the batch, first and last byte in the
--   publications; 0 and 0 clear), channels (name, distances from the last position)
-- states: topic, place in the batch, value ("" clears)
-- open publications: place in the batch, value      positions of finished ones
-- incoming ids: session, id      how long they are kept, seconds
--
-- Returns one of:
-- - `ok`, the newest position before the batch, the stamp before the batch
-- - `fenced`, the places of messages whose lease is not held by their sender, and of wills whose client is not at the
--   caller: the caller sends the batch without them
-- - `full`, of each message that must not be retained: its place, the number of its owner's retained topics if their limit
--   is reached, else -1, and the number of all. The caller sends the batch again without retaining these messages
-- - `repeated`, the places of duplicates in the batch: the caller sends the batch again without the duplicates
-- - `epoch`, the epoch of the journal, or `""` when Redis has no journal: the caller named another epoch
-- - `behind`: the journal lost entries that the caller has read

-- The score of a sender is its number of sessions times STEP, minus a counter of changes that orders equal senders.
-- The counter stays below STEP. With fewer than 256 sessions per sender, a double holds the score exactly.
local STEP = 2 ^ 45

local at = 0
local function text() at = at + 1; return ARGV[at] end
local function number() at = at + 1; return tonumber(ARGV[at]) end
local function whole(n) return string.format('%.0f', n) end

local prefix, epoch, run, batch = text(), text(), text(), text()
local knownHead, knownStamp, now = number(), text(), text()
local maxTopics, maxEvents, maxSessions, maxOfSender, maxRanges = number(), number(), number(), number(), number()

local meta = redis.call('HMGET', prefix .. 'meta', 'epoch', 'head', 'stamp', 'forgotten', 'sessions', 'changes',
  'published', 'publishedBytes')
if meta[1] ~= epoch then return {'epoch', meta[1] or ''} end
local base, stamp = tonumber(meta[2]), meta[3]
if base < knownHead or (base == knownHead and stamp ~= knownStamp) then return {'behind'} end

local fenced = {'fenced'}
for _ = 1, number() do
  local lease, fence, places = text(), text(), text()
  if redis.call('GET', lease) ~= fence then
    for place in string.gmatch(places, '%d+') do fenced[#fenced + 1] = place end
  end
end
for _ = 1, number() do
  local client, place = text(), text()
  -- See the script `rows`.
  local writer = string.match(redis.call('HGET', prefix .. 'mqtt-writers', client) or '', ' (.*)$')
  if writer ~= run then fenced[#fenced + 1] = place end
end
if fenced[2] then return fenced end

local repeated = {}
local sessions = {}
for s = 1, number() do
  local sender, name, seqs, places = text(), text(), text(), text()
  local ranges = {}
  for value in string.gmatch(redis.call('HGET', prefix .. 'sessions:' .. sender, name) or '', '%d+') do
    ranges[#ranges + 1] = tonumber(value)
  end
  local first = tonumber(string.match(places, '%d+'))
  local nextPlace = string.gmatch(places, '%d+')
  for digits in string.gmatch(seqs, '%d+') do
    local seq, place, count = tonumber(digits), nextPlace(), #ranges
    if count == 0 or seq > ranges[count] then
      if count > 0 and seq == ranges[count] + 1 then ranges[count] = seq
      else
        ranges[count + 1] = seq
        ranges[count + 2] = seq
      end
    else
      -- Finds the first range that ends at or above the number.
      local i = 1
      while ranges[i + 1] < seq do i = i + 2 end
      if ranges[i] <= seq then
        repeated[#repeated + 1] = place
      else
        local below, above = i > 1 and ranges[i - 1] == seq - 1, ranges[i] == seq + 1
        if below and above then
          table.remove(ranges, i - 1)
          table.remove(ranges, i - 1)
        elseif below then ranges[i - 1] = seq
        elseif above then ranges[i] = seq
        else
          table.insert(ranges, i, seq)
          table.insert(ranges, i, seq)
        end
      end
    end
    if #ranges > 2 * maxRanges then
      table.remove(ranges, 1)
      table.remove(ranges, 1)
    end
  end
  sessions[s] = {sender, name, first, ranges}
end
local ids = {}
for i = 1, number() do
  local key, place = text(), text()
  ids[i] = key
  if redis.call('HEXISTS', prefix .. 'ids', key) == 1 then repeated[#repeated + 1] = place end
end
if #repeated > 0 then
  table.insert(repeated, 1, 'repeated')
  return repeated
end

-- Versions before do not maintain the index of topics.
local function index_topics()
  redis.call('DEL', prefix .. 'retained-topics')
  local topics = redis.call('HKEYS', prefix .. 'retained')
  for from = 1, #topics, 1000 do
    local members = {}
    for i = from, math.min(from + 999, #topics) do
      members[#members + 1] = '0'
      members[#members + 1] = topics[i]
    end
    redis.call('ZADD', prefix .. 'retained-topics', unpack(members))
  end
end

local full = {'full'}
local added = {}
for _ = 1, number() do
  local topic, owner, maxOfOwner, maxOfAll, place = text(), text(), number(), number(), number()
  if not added[topic] and redis.call('HEXISTS', prefix .. 'retained', topic) == 0 then
    local all = redis.call('HLEN', prefix .. 'retained')
    if redis.call('ZCARD', prefix .. 'retained-topics') ~= all then index_topics() end
    local ofOwner = -1
    if owner ~= '' and maxOfOwner >= 0 then
      -- "0" follows "/".
      local stored = redis.call('ZLEXCOUNT', prefix .. 'retained-topics', '[' .. owner .. '/', '(' .. owner .. '0')
      ofOwner = stored + (added[owner .. '/'] or 0)
    end
    all = all + (added[''] or 0)
    if ofOwner >= 0 and ofOwner >= maxOfOwner then
      for _, value in ipairs({place, ofOwner, all}) do full[#full + 1] = value end
    elseif maxOfAll >= 0 and all >= maxOfAll then
      for _, value in ipairs({place, -1, all}) do full[#full + 1] = value end
    else
      added[topic] = 1
      added[owner .. '/'] = (added[owner .. '/'] or 0) + 1
      added[''] = (added[''] or 0) + 1
    end
  end
end
if full[2] then return full end

local head, previous = base, stamp
local published, publishedBytes = tonumber(meta[7] or '0'), tonumber(meta[8] or '0')
for _ = 1, number() do
  local size, entries, holders, chunkIds, row = number(), text(), text(), text(), text()
  local offset = whole(head - base)
  head = head + size
  local last = whole(head)
  local header = run .. ' ' .. batch .. ' ' .. offset .. ' ' .. whole(size) .. ' ' .. now .. ' ' .. previous ..
    ' ' .. #row
  redis.call('XADD', prefix .. 'log', last .. '-0', 'h', header, 'd', entries)
  previous = run .. '/' .. batch .. '/' .. offset
  redis.call('HSET', prefix .. 'held', last, holders)
  if chunkIds ~= '' then redis.call('HSET', prefix .. 'chunk-ids', last, chunkIds) end
  if row ~= '' then
    local before = whole(published) .. ' ' .. whole(publishedBytes) .. ' ' .. now
    redis.call('XADD', prefix .. 'publications', last .. '-0', 'h', before, 'p', row)
    published, publishedBytes = head, publishedBytes + #row
  end
  for _ = 1, number() do
    local topic, place, first, final = text(), number(), number(), number()
    if final == 0 then
      redis.call('HDEL', prefix .. 'retained', topic)
      redis.call('ZREM', prefix .. 'retained-topics', topic)
    else
      local value = whole(base + place) .. '\n\1' .. string.sub(row, first, final)
      if redis.call('HSET', prefix .. 'retained', topic, value) == 1 then
        redis.call('ZADD', prefix .. 'retained-topics', 0, topic)
      end
    end
  end
  for c = 1, number() do
    local channel, distances = text(), text()
    redis.call('XADD', prefix .. 'channel:' .. channel, last .. '-0', now, distances)
    local kept = redis.call('HINCRBY', prefix .. 'kept', channel, #distances)
    if kept == #distances then
      redis.call('ZADD', prefix .. 'oldest', 'NX', now, channel)
      if meta[4] then redis.call('HSETNX', prefix .. 'floors', channel, meta[4]) end
    end
    if maxEvents >= 0 and kept > maxEvents then redis.call('SADD', prefix .. 'excess', channel) end
  end
end
if published > base then
  redis.call('HSET', prefix .. 'meta', 'head', whole(head), 'stamp', previous, 'published', whole(published),
    'publishedBytes', whole(publishedBytes))
else redis.call('HSET', prefix .. 'meta', 'head', whole(head), 'stamp', previous) end

local total, changes, grown = tonumber(meta[5] or '0'), tonumber(meta[6] or '0'), false
local function resized(sender, by, count)
  total, changes = total + by, changes + 1
  if count == 0 then redis.call('ZREM', prefix .. 'senders', sender)
  else redis.call('ZADD', prefix .. 'senders', whole(count * STEP - changes), sender) end
end
for _, session in ipairs(sessions) do
  local sender, name, first, ranges = unpack(session)
  local used = prefix .. 'sessions-used:' .. sender
  for i = 1, #ranges do ranges[i] = whole(ranges[i]) end
  redis.call('HSET', prefix .. 'sessions:' .. sender, name, table.concat(ranges, ' '))
  if redis.call('ZADD', used, base + first, name) == 1 then
    grown = true
    resized(sender, 1, redis.call('ZCARD', used))
  end
end
while grown do
  local largest = redis.call('ZREVRANGE', prefix .. 'senders', 0, 0, 'WITHSCORES')
  local sender, count = largest[1], math.ceil(tonumber(largest[2] or '0') / STEP)
  local excess = math.max(count - maxOfSender, total > maxSessions and 1 or 0)
  if not sender or excess <= 0 then break end
  local oldest = redis.call('ZPOPMIN', prefix .. 'sessions-used:' .. sender, excess)
  for i = 1, #oldest, 2 do redis.call('HDEL', prefix .. 'sessions:' .. sender, oldest[i]) end
  resized(sender, -#oldest / 2, redis.call('ZCARD', prefix .. 'sessions-used:' .. sender))
end
if grown then redis.call('HSET', prefix .. 'meta', 'sessions', whole(total), 'changes', whole(changes)) end
for _, key in ipairs(ids) do redis.call('HSET', prefix .. 'ids', key, '') end

local count = number()
local room = count == 0 or redis.call('HLEN', prefix .. 'state') + count <= maxTopics
for _ = 1, count do
  local topic, place, value = text(), number(), text()
  if value == '' then redis.call('HDEL', prefix .. 'state', topic)
  elseif room or redis.call('HEXISTS', prefix .. 'state', topic) == 1 or redis.call('HLEN', prefix .. 'state') < maxTopics then
    redis.call('HSET', prefix .. 'state', topic, whole(base + place) .. ' ' .. now .. '\n' .. value)
  end
end

for _ = 1, number() do
  local place, value = number(), text()
  redis.call('HSET', prefix .. 'open:' .. run, whole(base + place), value)
end
for _ = 1, number() do redis.call('HDEL', prefix .. 'open:' .. run, text()) end
local incoming = {}
for _ = 1, number() do
  local session, id = text(), text()
  redis.call('SADD', prefix .. 'incoming:' .. session, id)
  incoming[session] = true
end
local keptFor = text()
for session in pairs(incoming) do redis.call('EXPIRE', prefix .. 'incoming:' .. session, keptFor) end
return {'ok', whole(base), stamp}
