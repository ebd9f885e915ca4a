-- Keys: `members`, `about`. Returns of each living node its id, the time of its last heartbeat, and its entry of `about`.

local reply = {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for index = 1, #all, 2 do
  reply[#reply + 1] = { all[index], tonumber(all[index + 1]), redis.call('HGET', KEYS[2], all[index]) or '{}' }
end
return reply
