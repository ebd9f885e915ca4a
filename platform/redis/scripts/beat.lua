-- The heartbeat of a node. It takes silent nodes for dead, and removes them: a node is alive as long as `members` has it.
--
-- Keys: `members` (sorted set: node → time of its last heartbeat), `about` (hash: node → JSON with its `name`,
-- `startedAt`, `clockMs`, `digest` of its settings and `formats`), `settings` (hash: node → its settings that must agree),
-- `since`, `formats` (the newest `oldest` of the formats of all nodes that have ever joined).
-- Arguments: the node; its entry of `about`; its settings, or "" when Redis has them; the milliseconds without a heartbeat
-- after which a node is dead; a shorter time of silence; 1 for the first heartbeat of the node; the formats of nodes
-- that announce none.
--
-- A node that is silent for the shorter time is dead already if a node of the same name has started after it.
--
-- When nobody has sent a heartbeat for the shorter time, Redis may have been away. Then each node has the whole time
-- again to send its next heartbeat: `since` is the start of the time without such a pause.
--
-- A node whose formats a living node or the data does not work with does not join.
--
-- Returns the time; 1 if this node was taken for dead, or Redis was emptied, 2 if it does not join; then of each living
-- node its id, the time of its last heartbeat, its entry of `about`, and its settings if they differ. Of a node that does
-- not join: only what it does not work with. The id of the data is "".

local members, about, settings, since_key, formats_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, own_text, own_settings, dead_after, pause = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local now = server_time()
local own = cjson.decode(own_text)
-- The node does not know the time of Redis yet.
if own.startedAt == 0 then
  own.startedAt = now
  own_text = cjson.encode(own)
end

local newest = tonumber(redis.call('ZRANGE', members, -1, -1, 'WITHSCORES')[2] or 0)
local since = tonumber(redis.call('GET', since_key) or 0)
-- The clock may have been set back. A node that does not join sends no heartbeat, so that it may find a pause repeatedly.
if (math.abs(now - newest) > pause and since <= newest) or now < since then
  since = now
  redis.call('SET', since_key, now)
end

local function is_dead(seen, other)
  local silence = math.abs(now - seen)
  if silence > dead_after and now - since > dead_after then return true end
  return silence > pause and own.name ~= '' and other.name == own.name and other.startedAt < own.startedAt
end

if ARGV[6] == '1' then
  local needed = tonumber(redis.call('GET', formats_key) or 0)
  local all = redis.call('ZRANGE', members, 0, -1, 'WITHSCORES')
  for index = 1, #all, 2 do
    local text = redis.call('HGET', about, all[index]) or '{}'
    local other = cjson.decode(text)
    local theirs = other.formats or cjson.decode(ARGV[7])
    local works = theirs.version >= own.formats.oldest and own.formats.version >= theirs.oldest
    if not works and not is_dead(tonumber(all[index + 1]), other) then
      return { now, 2, { all[index], tonumber(all[index + 1]), text, '' } }
    end
  end
  if needed > own.formats.version then
    return { now, 2, { '', now, cjson.encode({ formats = { version = needed, oldest = needed } }), '' } }
  end
  if own.formats.oldest > needed then redis.call('SET', formats_key, own.formats.oldest) end
end

local was_lost = ARGV[6] ~= '1' and not redis.call('ZSCORE', members, id)
redis.call('ZADD', members, now, id)
redis.call('HSET', about, id, own_text)
if own_settings ~= '' then redis.call('HSET', settings, id, own_settings) end

local reply = { now, was_lost and 1 or 0 }
local all = redis.call('ZRANGE', members, 0, -1, 'WITHSCORES')
for index = 1, #all, 2 do
  local node, seen = all[index], tonumber(all[index + 1])
  local text = redis.call('HGET', about, node) or '{}'
  local other = cjson.decode(text)
  if node ~= id and is_dead(seen, other) then
    redis.call('ZREM', members, node)
    redis.call('HDEL', about, node)
    redis.call('HDEL', settings, node)
  else
    local differing = other.digest ~= own.digest and redis.call('HGET', settings, node)
    reply[#reply + 1] = { node, seen, text, differing or '' }
  end
end
return reply
