-- The heartbeat of a node. It takes silent nodes for dead, and removes them: a node is alive as long as `members` has it.
--
-- Keys: `members` (sorted set: node → time of its last heartbeat), `about` (hash: node → JSON with its `name`,
-- `startedAt`, `clockMs` and `digest` of its settings), `settings` (hash: node → its settings that must agree), `since`.
-- Arguments: the node; its entry of `about`; its settings, or "" when Redis has them; the milliseconds without a heartbeat
-- after which a node is dead; a shorter time of silence; 1 for the first heartbeat of the node.
--
-- A node that is silent for the shorter time is dead already if a node of the same name has started after it.
--
-- When nobody has sent a heartbeat for the shorter time, Redis may have been away. Then each node has the whole time
-- again to send its next heartbeat: `since` is the start of the time without such a pause.
--
-- Returns the time; 1 if this node was taken for dead, or Redis was emptied; then of each living node its id, the time of
-- its last heartbeat, its entry of `about`, and its settings if they differ.

local members, about, settings, since_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
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
-- The clock may have been set back.
if math.abs(now - newest) > pause or now < since then
  since = now
  redis.call('SET', since_key, now)
end

local was_lost = ARGV[6] ~= '1' and not redis.call('ZSCORE', members, id)
redis.call('ZADD', members, now, id)
redis.call('HSET', about, id, own_text)
if own_settings ~= '' then redis.call('HSET', settings, id, own_settings) end

local function is_dead(seen, other)
  local silence = math.abs(now - seen)
  if silence > dead_after and now - since > dead_after then return true end
  return silence > pause and own.name ~= '' and other.name == own.name and other.startedAt < own.startedAt
end

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
