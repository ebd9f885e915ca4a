-- Moves groups of shared subscriptions on: their places in the log, their members, and which member has which publication.
-- Any run may move any group, because each operation names what it has seen, and is refused when that has changed.
--
-- Arguments: prefix, epoch, the sorted set of living nodes, and a JSON list of operations, each with the group's key `g`:
-- - `J`: member `m` joins or returns with QoS `q`, as connection `t` (`run:number`); `p` is 1 for a persistent session.
--   A new group gets the name `n` and begins at the head. What another connection of the member had at QoS 1 waits; at
--   QoS 2 it stays with a persistent session. Result: the place, and what the member has: position, QoS, state, id.
-- - `V`: member `m` leaves, as connection `t`; "" is any. A group ends with its last member.
-- - `T`: gives publications to members: the place was between `b` and `f` and becomes `u`; `c` lists members and their
--   connections; `a` lists position, QoS, id and index of the member; `w` lists publications that wait for a member.
--   Result: `ok`; `moved` and the place; or `gone` and the indexes of members that have other connections.
-- - `W`: gives publications that wait. Result: `ok` and 1 or 0 for each one; or `gone` as above.
-- - `C`: `a` lists acknowledged publications: position, id, member. `B`: publications that the member gives back.
-- - `R`: PUBREC for position `o`, id `i`, member `m`. Result: 1 or 0.
-- - `D`: member `m` has disconnected, as connection `t`.
-- - `K`: everything up to `u` is passed over; with `x`, only if the place is still `b`.
-- - `Z`: what waits from `b` to `u` is given up.
-- - `Q`: claims the key `k` once. Result: 1 or 0.
-- - `P`: members of ended runs leave or lose what they have at QoS 1. Result: the number of creations of groups, and for
--   each group its key, name, place, what waits, what the log must keep, how many members have not acknowledged, and its
--   members with QoS, `p`, and 1 if they are connected.
-- Returns `ok` and the results. Returns `epoch` and the journal's epoch if `epoch` is another one.

local prefix, epoch, living = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local meta = call('HMGET', prefix .. 'meta', 'epoch', 'head', 'shareVersion')
if meta[1] ~= epoch then return {'epoch', meta[1] or ''} end
-- A node that has not noticed yet that a failover lost the newest positions names some above the head. Other publications
-- get these positions, and no group may pass over them.
local head = tonumber(meta[2] or '0')
local shares, floors = prefix .. 'mqtt-shares', prefix .. 'mqtt-share-floors'
local function whole(n) return string.format('%.0f', n) end
local function key(kind, g) return prefix .. 'mqtt-share-' .. kind .. ':' .. g end
local function place(g) return tonumber(call('HGET', key('place', g), 'sent') or '') end

-- Trims keep what the groups need, because the groups have an entry in `publication-floors`, as a run that always has a
-- client. Nodes of versions before shared subscriptions respect it too, and compact nothing above it.
local function note_lowest()
  local lowest = call('ZRANGE', floors, 0, 0, 'WITHSCORES')[2]
  if lowest then
    call('SADD', prefix .. 'mqtt-held:shares', '-')
    call('HSET', prefix .. 'publication-floors', 'shares', whole(lowest) .. ' 0 ' .. whole(lowest))
  else
    call('DEL', prefix .. 'mqtt-held:shares')
    call('HDEL', prefix .. 'publication-floors', 'shares')
  end
end

local function note_floor(g)
  local floor = place(g)
  if not floor then return end
  for _, kind in ipairs({'waiting', 'held'}) do
    local first = call('ZRANGE', key(kind, g), 0, 0)[1]
    if first then floor = math.min(floor, tonumber(first) - 1) end
  end
  call('ZADD', floors, whole(floor), g)
end

local function end_group(g)
  for _, kind in ipairs({'place', 'members', 'open', 'held', 'waiting'}) do call('DEL', key(kind, g)) end
  call('HDEL', shares, g)
  call('ZREM', floors, g)
end

local function membership(g, m)
  return string.match(call('HGET', key('members', g), m) or '', '^(%d) (%d) (.*)$')
end

local function assignment(g, position)
  return string.match(call('HGET', key('open', g), position) or '', '^(%d) (%d) (%d+) (.*)$')
end

local function close(g, position)
  call('HDEL', key('open', g), position)
  call('ZREM', key('held', g), position)
end

local function give_back(g, position)
  close(g, position)
  call('ZADD', key('waiting', g), position, position)
end

-- The connection of the member has ended. A publication of QoS 2 goes to no other client.
local function lose(g, m, keeps)
  local open = call('HGETALL', key('open', g))
  for at = 1, #open, 2 do
    local qos, _, _, member = string.match(open[at + 1], '^(%d) (%d) (%d+) (.*)$')
    if member == m then
      if qos == '1' then give_back(g, open[at]) elseif not keeps then close(g, open[at]) end
    end
  end
end

local function leave(g, m)
  call('HDEL', key('members', g), m)
  lose(g, m, false)
  if call('HLEN', key('members', g)) == 0 then end_group(g) else note_floor(g) end
end

local function assign(g, one, members)
  local position, qos = whole(one[1]), whole(one[2])
  if qos == '0' then return end
  call('HSET', key('open', g), position, qos .. ' 0 ' .. whole(one[3]) .. ' ' .. members[one[4] + 1][1])
  call('ZADD', key('held', g), position, position)
end

-- The indexes of members that have left or have other connections.
local function gone(g, members)
  local found = {}
  for index, one in ipairs(members) do
    local _, _, connection = membership(g, one[1])
    if connection ~= one[2] then found[#found + 1] = index - 1 end
  end
  return found
end

local op = {}

op.J = function(o)
  local g, m = o.g, o.m
  if call('HSETNX', shares, g, o.n) == 1 then
    call('HSET', key('place', g), 'sent', meta[2])
    call('HINCRBY', prefix .. 'meta', 'shareVersion', 1)
  end
  local _, persistent, connection = membership(g, m)
  if connection and connection ~= o.t then lose(g, m, persistent == '1' and o.p == 1) end
  call('HSET', key('members', g), m, whole(o.q) .. ' ' .. whole(o.p) .. ' ' .. o.t)
  local result = {whole(place(g))}
  local open = call('HGETALL', key('open', g))
  for at = 1, #open, 2 do
    local qos, state, id, member = string.match(open[at + 1], '^(%d) (%d) (%d+) (.*)$')
    if member == m then
      for _, value in ipairs({open[at], qos, state, id}) do result[#result + 1] = value end
    end
  end
  note_floor(g)
  return result
end

op.V = function(o)
  local _, _, connection = membership(o.g, o.m)
  if connection and (o.t == '' or connection == o.t) then leave(o.g, o.m) end
  return 1
end

op.D = function(o)
  local qos, persistent, connection = membership(o.g, o.m)
  if connection == o.t then call('HSET', key('members', o.g), o.m, qos .. ' ' .. persistent .. ' -') end
  return 1
end

op.T = function(o)
  local g = o.g
  local sent = place(g)
  if not sent then return {'gone', unpack(gone(g, o.c))} end
  if sent < o.b or sent > o.f or o.u > head then return {'moved', whole(sent)} end
  local lost = gone(g, o.c)
  if #lost > 0 then return {'gone', unpack(lost)} end
  call('HSET', key('place', g), 'sent', whole(o.u))
  for _, one in ipairs(o.a) do assign(g, one, o.c) end
  for _, position in ipairs(o.w) do call('ZADD', key('waiting', g), whole(position), whole(position)) end
  note_floor(g)
  return {'ok'}
end

op.W = function(o)
  local g = o.g
  local lost = gone(g, o.c)
  if #lost > 0 then return {'gone', unpack(lost)} end
  local result = {'ok'}
  for _, one in ipairs(o.a) do
    local taken = call('ZREM', key('waiting', g), whole(one[1]))
    if taken == 1 then assign(g, one, o.c) end
    result[#result + 1] = taken
  end
  note_floor(g)
  return result
end

-- Calls back for each publication that the member still has under this id.
local function each(o, done)
  for _, one in ipairs(o.a) do
    local position = whole(one[1])
    local _, state, id, member = assignment(o.g, position)
    if id == whole(one[2]) and member == one[3] then done(o.g, position, state) end
  end
  note_floor(o.g)
  return 1
end

op.C = function(o) return each(o, close) end

op.B = function(o)
  return each(o, function(g, position, state) if state == '0' then give_back(g, position) end end)
end

op.R = function(o)
  local g, position = o.g, whole(o.o)
  local qos, _, id, member = assignment(g, position)
  if id ~= whole(o.i) or member ~= o.m then return 0 end
  call('HSET', key('open', g), position, qos .. ' 1 ' .. id .. ' ' .. member)
  call('ZREM', key('held', g), position)
  note_floor(g)
  return 1
end

op.K = function(o)
  local sent = place(o.g)
  if sent and sent < o.u and o.u <= head and (o.x ~= 1 or sent == o.b) then call('HSET', key('place', o.g), 'sent', whole(o.u)) end
  note_floor(o.g)
  return 1
end

op.Z = function(o)
  local removed = call('ZREMRANGEBYSCORE', key('waiting', o.g), whole(o.b), whole(o.u))
  call('ZREMRANGEBYSCORE', key('held', o.g), whole(o.b), whole(o.u))
  note_floor(o.g)
  return removed
end

op.Q = function(o)
  return call('SET', prefix .. 'mqtt-share-once:' .. o.k, '1', 'NX', 'EX', 10) and 1 or 0
end

local function tidy(g)
  local members = call('HGETALL', key('members', g))
  for at = 1, #members, 2 do
    local qos, persistent, connection = string.match(members[at + 1], '^(%d) (%d) (.*)$')
    local run = string.match(connection, '^(.*):%d+$')
    if run and not call('ZSCORE', living, run) then
      if persistent == '1' then
        lose(g, members[at], true)
        call('HSET', key('members', g), members[at], qos .. ' 1 -')
        note_floor(g)
      else leave(g, members[at]) end
    end
  end
end

op.P = function()
  for _, g in ipairs(call('HKEYS', shares)) do tidy(g) end
  local result = {meta[3] or '0'}
  local names = call('HGETALL', shares)
  for at = 1, #names, 2 do
    local g = names[at]
    local members = {}
    local known = call('HGETALL', key('members', g))
    for index = 1, #known, 2 do
      local qos, persistent, connection = string.match(known[index + 1], '^(%d) (%d) (.*)$')
      for _, value in ipairs({known[index], qos, persistent, connection == '-' and '0' or '1'}) do members[#members + 1] = value end
    end
    result[#result + 1] = {g, names[at + 1], whole(place(g)), call('ZRANGE', key('waiting', g), 0, -1),
      call('ZRANGE', key('held', g), 0, -1), call('HLEN', key('open', g)), members}
  end
  return result
end

local results = {}
for index, one in ipairs(cjson.decode(ARGV[4])) do results[index] = op[one.op](one) end
note_lowest()
return {'ok', results}
