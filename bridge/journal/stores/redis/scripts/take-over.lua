-- What a run does to take over the rows of versions before the log. One run at a time does so: the run that has the lock
-- last. What another run does with an older token is refused.
--
-- Arguments: prefix, token; then operations, each a letter with its arguments:
-- - `A life`: takes the lock for `life` milliseconds. Result: 1, or 0 when another run has it.
-- - `N life`: renews the lock.
-- - `F`: releases the lock.
-- - `r topic frame`: a retained message, at the newest position.
-- - `i session id seconds`: the message id of an incoming QoS 2 publication, and how long it is kept.
-- - `o position command`: a command that the relay has not finished.
-- - `s client row`: a session. `w client row`: a will; it comes after the session of its client.
-- - `E mark runs`: everything is taken over: stores the mark, and removes what these runs have left. `runs` is JSON.
-- Returns 1. Returns 0 when the lock is taken or the token is not the newest one: then nothing was done.
--
-- The clients with a will belong to the run `earlier`, which has no heartbeat. So the living runs take over its clients,
-- and publish the wills. Its commands are reported in the same way.

local prefix, token = ARGV[1], ARGV[2]
local at = 2
local function text() at = at + 1; return ARGV[at] end
local call = redis.call
local meta, lock = prefix .. 'meta', prefix .. 'mqtt-take-over'
local rows, writers, held = prefix .. 'mqtt-rows', prefix .. 'mqtt-writers', prefix .. 'mqtt-held:earlier'
local before, mark, head, newest = unpack(call('HMGET', meta, 'takeOver', 'takenOver', 'head', 'rowChange'))
local isAcquiring = ARGV[3] == 'A'
if isAcquiring then
  local holder = call('GET', lock)
  if holder and holder ~= token then return 0 end
elseif before ~= token then return 0 end

local op = {}

op.A = function()
  -- The appends of an earlier holder count as repeated from now on.
  if before and before ~= token then call('HSET', prefix .. 'sessions:mqtt', before, '0 9007199254740991') end
  call('HSET', meta, 'takeOver', token)
  call('SET', lock, token, 'PX', text())
end
op.N = function() call('SET', lock, token, 'PX', text()) end
op.F = function() if call('GET', lock) == token then call('DEL', lock) end end
op.r = function()
  local topic, frame = text(), text()
  call('HSET', prefix .. 'retained', topic, head .. '\n\1' .. frame)
end
op.i = function()
  local key, id, seconds = prefix .. 'incoming:' .. text(), text(), text()
  call('SADD', key, id)
  call('EXPIRE', key, seconds)
end
op.o = function()
  local position, command = text(), text()
  call('HSET', prefix .. 'open:earlier', position, command)
end
op.s = function()
  local client, row = text(), text()
  local number = '1'
  if mark then
    -- The earlier version has run again. Nodes of this version may know the client.
    local time = call('TIME')
    number = string.format('%.0f', math.max(time[1] * 1000000 + time[2], tonumber(newest or '0') + 1))
    call('XADD', prefix .. 'mqtt-changes', 'MAXLEN', '~', 10000, number .. '-0', 'c',
      cjson.encode({newest or '0', head, 'a', client, number, 'earlier', row}))
    newest = number
    call('HSET', meta, 'rowChange', number)
  end
  call('HSET', rows, 'session:' .. client, row)
  call('HSET', writers, client, number .. ' -')
end
op.w = function()
  local client, row = text(), text()
  call('HSET', rows, 'will:' .. client, row)
  call('HSET', writers, client, '1 earlier')
  call('SADD', held, client)
end
op.E = function()
  local name, runs = text(), cjson.decode(text())
  call('HSET', meta, 'takenOver', name)
  if call('EXISTS', held) == 1 then
    -- Until the living runs have these sessions, no publication is removed.
    call('HSET', prefix .. 'publication-floors', 'earlier', '0 0')
    call('HSETNX', prefix .. 'mqtt-taken', 'earlier', '0')
  end
  if call('EXISTS', prefix .. 'open:earlier') == 1 then call('ZADD', prefix .. 'estates', 0, 'earlier') end
  for _, run in ipairs(runs) do call('UNLINK', prefix .. 'unemitted:' .. run, prefix .. 'partial:' .. run) end
end

while at < #ARGV do op[text()]() end
return 1
