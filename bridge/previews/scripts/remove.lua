-- Functions that remove previews, with `base`, the prefix of all keys.

local base = KEYS[1]
local function remove(member)
  local owner, name, bytes = string.match(member, '^(%S+) (%S+) (%d+)$')
  redis.call('ZREM', base .. 'all', member)
  redis.call('ZREM', base .. 'arrived', member)
  redis.call('ZREM', base .. 'list:' .. owner, name)
  redis.call('HDEL', base .. 'meta:' .. owner, name)
  redis.call('DEL', base .. 'jpeg:' .. owner .. ':' .. name)
  redis.call('DECRBY', base .. 'bytes', bytes)
  if redis.call('HINCRBY', base .. 'camera-bytes', owner, -tonumber(bytes)) <= 0 then
    redis.call('HDEL', base .. 'camera-bytes', owner)
  end
end

-- At most a thousand; the next call removes more.
local function removeExpired(since)
  -- Previews of an earlier version, which counted their age from the capture and had no 'arrived'.
  if redis.call('ZCARD', base .. 'arrived') < redis.call('ZCARD', base .. 'all') then
    redis.call('ZUNIONSTORE', base .. 'arrived', 2, base .. 'arrived', base .. 'all', 'AGGREGATE', 'MAX')
  end
  local old = redis.call('ZRANGEBYSCORE', base .. 'arrived', '-inf', '(' .. since, 'LIMIT', 0, 1000)
  for _, member in ipairs(old) do remove(member) end
  return #old
end
