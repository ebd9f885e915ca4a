-- Stores a preview and removes previews above the limits, atomically, so that the sums stay right when a node dies.
--
-- KEYS: the prefix of all keys, which share one hash slot. ARGV: the arrival time before which previews have expired,
-- the time to live of a preview in milliseconds, camera, capture, taken, saved, size, etag, bytes, and the five limits
-- (-1: none). Returns 1 when the preview is the newest of its camera.

local since, ttl, camera, capture = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local taken, saved, size, etag, jpeg = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]
local perCamera, perCameraBytes, inAll, inAllBytes, cameras =
  tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])

local function memberOf(owner, name)
  local meta = redis.call('HGET', base .. 'meta:' .. owner, name)
  return meta and (owner .. ' ' .. name .. ' ' .. string.match(meta, '^%d+ (%d+)'))
end

-- When a camera's own keys have expired, only 'all' knows its captures, and they expire from there.
local function removeCapture(owner, name)
  local member = memberOf(owner, name)
  if member then remove(member) else redis.call('ZREM', base .. 'list:' .. owner, name) end
end

local newest = redis.call('HMGET', base .. 'newest:' .. camera, 'taken', 'capture', 'meta')
local known = redis.call('HGET', base .. 'meta:' .. camera, capture)
if not known and newest[2] == capture then known = newest[3] end
if known and string.match(known, '(%S+)$') == etag then
  return newest[2] == capture and 1 or 0
end
local newestTaken = newest[1] and tonumber(newest[1])
local isNewest = not newestTaken or newest[2] == capture or taken > newestTaken
  or (taken == newestTaken and capture > newest[2])
if known then removeCapture(camera, capture) end

local meta = saved .. ' ' .. size .. ' ' .. etag
if isNewest then
  redis.call('HSET', base .. 'newest:' .. camera, 'capture', capture, 'taken', taken, 'meta', meta, 'jpeg', jpeg)
end
redis.call('ZADD', base .. 'cameras', saved, camera)
redis.call('SET', base .. 'jpeg:' .. camera .. ':' .. capture, jpeg, 'PX', ttl)
redis.call('ZADD', base .. 'list:' .. camera, taken, capture)
redis.call('HSET', base .. 'meta:' .. camera, capture, meta)
redis.call('PEXPIRE', base .. 'list:' .. camera, ttl)
redis.call('PEXPIRE', base .. 'meta:' .. camera, ttl)
redis.call('ZADD', base .. 'all', taken, camera .. ' ' .. capture .. ' ' .. size)
redis.call('ZADD', base .. 'arrived', saved, camera .. ' ' .. capture .. ' ' .. size)
redis.call('INCRBY', base .. 'bytes', size)
redis.call('HINCRBY', base .. 'camera-bytes', camera, size)

local function number(value) return tonumber(value or 0) end

while cameras >= 0 and redis.call('ZCARD', base .. 'cameras') > cameras do
  local silent = redis.call('ZPOPMIN', base .. 'cameras')[1]
  for _, name in ipairs(redis.call('ZRANGE', base .. 'list:' .. silent, 0, -1)) do removeCapture(silent, name) end
  redis.call('DEL', base .. 'newest:' .. silent)
end
removeExpired(since)
local list = base .. 'list:' .. camera
while (perCamera >= 0 and redis.call('ZCARD', list) > perCamera)
  or (perCameraBytes >= 0 and number(redis.call('HGET', base .. 'camera-bytes', camera)) > perCameraBytes) do
  local oldest = redis.call('ZRANGE', list, 0, 0)[1]
  if not oldest then break end
  removeCapture(camera, oldest)
end
while (inAll >= 0 and redis.call('ZCARD', base .. 'all') > inAll)
  or (inAllBytes >= 0 and number(redis.call('GET', base .. 'bytes')) > inAllBytes) do
  local oldest = redis.call('ZRANGE', base .. 'all', 0, 0)[1]
  if not oldest then break end
  remove(oldest)
end
return isNewest and 1 or 0
