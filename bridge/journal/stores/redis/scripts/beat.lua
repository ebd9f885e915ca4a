-- The heartbeat of a node. It claims the runs of dead nodes, and the earlier runs of the same node: this run then
-- reports their unfinished commands. The heartbeat is a write, so it also proves that writing works.
--
-- Arguments: prefix; run; name of the node or ""; the milliseconds without a heartbeat after which a run is dead; 1 to
-- claim earlier runs of this node; the run's entry in `publication-floors`; then the runs that were claimed before.
-- Returns the epoch or "", the head, and the newly claimed runs.

local prefix, run, node, deadAfter = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local runs, instances = prefix .. 'estates', prefix .. 'instances'
redis.call('ZADD', runs, now, run)
if node ~= '' then redis.call('HSET', instances, run, node) end
redis.call('HSET', prefix .. 'beats', run, now)
redis.call('HSET', prefix .. 'publication-floors', run, ARGV[6])
local mine = {[run] = true}
for i = 7, #ARGV do
  mine[ARGV[i]] = true
  redis.call('ZADD', runs, now, ARGV[i])
end
local taken = {}
local function take(other)
  if mine[other] then return end
  mine[other] = true
  if redis.call('EXISTS', prefix .. 'open:' .. other) == 1 then
    redis.call('ZADD', runs, now, other)
    taken[#taken + 1] = other
  -- What a version before the log has left is taken over first: see take-over.lua.
  elseif redis.call('EXISTS', prefix .. 'unemitted:' .. other) == 0 then
    redis.call('ZREM', runs, other)
    redis.call('HDEL', instances, other)
  end
end
for _, other in ipairs(redis.call('ZRANGEBYSCORE', runs, '-inf', now - deadAfter, 'LIMIT', 0, 64)) do take(other) end
if ARGV[5] == '1' and node ~= '' then
  for _, other in ipairs(redis.call('ZRANGE', runs, 0, 1000)) do
    if redis.call('HGET', instances, other) == node then take(other) end
  end
end
local meta = redis.call('HMGET', prefix .. 'meta', 'epoch', 'head')
return {meta[1] or '', meta[2] or '0', unpack(taken)}
