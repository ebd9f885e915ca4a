-- Writes rows of the broker's clients. One run at a time writes the rows of a client: the run that took the client last.
-- The number of that change is the client's generation. What was decided with an older generation is refused.
--
-- Arguments: prefix, epoch, run, the sorted set of living nodes, the run id of this Redis master; then operations, each a
-- letter with its arguments:
-- - `T client token waits`: takes the client, and removes its will. Result: the generation, the generation and run
--   from before or "", the session's row or "", the session's incoming ids, the will's row or "". If `waits` is 1, and the
--   client's run, perhaps this one, has not come to this master yet, which may have lost what the run knows: `wait`.
-- - `A master`: the run has come to the master, and has written what the master had lost. Result: 1, or 0 when this is
--   another master.
-- - `S client generation key row`: stores the row; an empty row is removed. Result: 1, or 0 when it is refused.
-- - `D client generation`: removes the client's session. Result: 1 or 0.
-- - `L client generation`: the client has left the run. Result: 1; 2 when it has no session; 0 when it is refused.
-- - `O`: registers the run.
-- - `B limit`: takes up to `limit` clients of each run that has ended. Result: 1 when this run is the first one, 0 when
--   not. The first run stays the first one until it ends: two runs are never the first one at the same time.
--
-- Each change has a number, which grows. An entry of the stream `mqtt-changes` has this number as its id. Its fields:
-- the number before; the newest position; the kind; the client; its generation; the run; then, by kind:
-- - `t`: taken: the token                 - `c`: a session is new: its row
-- - `l`: left, any node may take it: its row     - `d`: the session is removed
-- - `a`: the client's run has ended: its row     - `w`: as `a`, and the run publishes the will: row, will
-- Numbers are microseconds since 1970, so that a number does not come again after Redis has lost data.
--
-- Returns `ok`, the newest position, and the results. Returns `epoch` and the journal's epoch if `epoch` is another one.

local prefix, epoch, run, members, master = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local at = 5
local function text() at = at + 1; return ARGV[at] end
local call = redis.call
local meta = call('HMGET', prefix .. 'meta', 'epoch', 'head', 'rowChange')
if meta[1] ~= epoch then return {'epoch', meta[1] or ''} end
local head, newest = meta[2], meta[3] or '0'
local rows, writers, taken = prefix .. 'mqtt-rows', prefix .. 'mqtt-writers', prefix .. 'mqtt-taken'
local time = call('TIME')

local function next_number()
  return string.format('%.0f', math.max(time[1] * 1000000 + time[2], tonumber(newest) + 1))
end

local function announce(kind, client, generation, ...)
  local number = next_number()
  call('XADD', prefix .. 'mqtt-changes', 'MAXLEN', '~', 10000, number .. '-0', 'c',
    cjson.encode({newest, head, kind, client, generation or number, run, ...}))
  newest = number
  call('HSET', prefix .. 'meta', 'rowChange', number)
  return number
end

local function held(other) return prefix .. 'mqtt-held:' .. other end
local function writer_of(client)
  local known = call('HGET', writers, client) or ''
  local generation, writer = string.match(known, '^(%d+) (.*)$')
  return generation, writer, known
end

local function is_mine(client, generation)
  local known, writer = writer_of(client)
  return known == generation and writer == run
end

local op = {}

local masters = prefix .. 'mqtt-masters'

op.A = function()
  if text() ~= master then return 0 end
  call('HSET', masters, run, master)
  return 1
end

op.T = function()
  local client, token, waits = text(), text(), text()
  local _, before, known = writer_of(client)
  if waits == '1' and before and call('ZSCORE', members, before) then
    local last = call('HGET', masters, before)
    if last and last ~= master then return {'wait'} end
  end
  local number = announce('t', client, nil, token)
  if before and before ~= '-' and before ~= run then call('SREM', held(before), client) end
  call('HSET', writers, client, number .. ' ' .. run)
  call('SADD', held(run), client)
  call('HSET', taken, run, number)
  local will = call('HGET', rows, 'will:' .. client) or ''
  call('HDEL', rows, 'will:' .. client)
  local row = call('HGET', rows, 'session:' .. client) or ''
  return {number, known, row, call('SMEMBERS', prefix .. 'incoming:' .. client), will}
end

op.S = function()
  local client, generation, key, row = text(), text(), text(), text()
  if not is_mine(client, generation) then return 0 end
  if row == '' then call('HDEL', rows, key)
  elseif call('HSET', rows, key, row) == 1 and string.sub(key, 1, 8) == 'session:' then
    announce('c', client, generation, row)
  end
  return 1
end

op.D = function()
  local client, generation = text(), text()
  local known, writer = writer_of(client)
  if known ~= generation then return 0 end
  call('HDEL', rows, 'session:' .. client)
  call('DEL', prefix .. 'incoming:' .. client)
  if writer ~= run then
    call('HDEL', rows, 'will:' .. client)
    call('HDEL', writers, client)
    if writer ~= '-' then call('SREM', held(writer), client) end
  end
  announce('d', client, generation)
  return 1
end

op.L = function()
  local client, generation = text(), text()
  if not is_mine(client, generation) then return 0 end
  call('SREM', held(run), client)
  local row = call('HGET', rows, 'session:' .. client)
  if row then
    call('HSET', writers, client, generation .. ' -')
    announce('l', client, generation, row)
    return 1
  end
  call('HDEL', writers, client)
  return 2
end

op.O = function() return call('HSETNX', taken, run, '0') end

local function adopt(other, limit)
  for _, client in ipairs(call('SRANDMEMBER', held(other), limit)) do
    call('SREM', held(other), client)
    local _, writer = writer_of(client)
    if writer == other then
      local row, will = call('HGET', rows, 'session:' .. client), call('HGET', rows, 'will:' .. client)
      if will then
        local number = announce('w', client, nil, row or '', will)
        call('HSET', writers, client, number .. ' ' .. run)
        call('SADD', held(run), client)
      elseif row then
        call('HSET', writers, client, announce('a', client, nil, row) .. ' -')
      else
        announce('d', client, '')
        call('HDEL', writers, client)
      end
    end
  end
  -- This run's floor counts again when the run knows of these sessions.
  call('HSET', taken, run, newest)
end

local function lives(other) return call('ZSCORE', members, other) end

local function is_first()
  local first = call('HGET', prefix .. 'meta', 'firstRun')
  if first and first ~= run and lives(first) then return 0 end
  if first ~= run then call('HSET', prefix .. 'meta', 'firstRun', run) end
  return 1
end

op.B = function()
  local limit = tonumber(text())
  -- This run was taken for dead, and does not know it yet.
  if not lives(run) then return 0 end
  call('HSETNX', taken, run, '0')
  for _, other in ipairs(call('HKEYS', taken)) do
    if lives(other) then
      -- It writes the rows of its clients.
    elseif call('SCARD', held(other)) > 0 then adopt(other, limit)
    else
      -- From now on, no floor of this run protects what its sessions need: see trim-publications.
      call('HSET', prefix .. 'meta', 'rowBarrier', newest)
      call('HDEL', taken, other)
      call('HDEL', masters, other)
      call('HDEL', prefix .. 'publication-floors', other)
    end
  end
  return is_first()
end

local results = {}
while at < #ARGV do results[#results + 1] = op[text()]() end
return {'ok', head, results}
