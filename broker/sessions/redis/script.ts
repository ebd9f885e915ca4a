import { Script } from "../../../platform/redis/script.ts";

/**
 * The script for all writes. Runs a list of operations in order and atomically. Each operation is a letter with its
 * arguments, and is idempotent, because a call without an answer is retried.
 *
 * - `KEYS[1..6]`: the log (stream), the number of the newest entry, the number of the newest change of a session,
 *   totals (hash), the counter of this node's newest publication, the retained messages (hash).
 * - `ARGV[1..7]`: the id of this run of the node, the newest change of a session that the node has applied, and the
 *   limits: retained messages, entries and bytes of the log, messages and bytes of a queue.
 * - The keys and the arguments of the operations follow in the order of the operations.
 * - A log entry has one field, because several take twice as long to read. The field's name contains the kind, the
 *   change of the retained message, and the number of the previous entry. Its value is the packet, or JSON for the
 *   other kinds.
 * - The reply: the results of the operations, up to the first publication that the script rejects because the node's
 *   copy of the sessions is outdated; the newest change if a publication was rejected, otherwise ''; the drops of full
 *   queues (for each: client id, number of dropped messages, and the queue's messages and bytes when dropping began, or
 *   '0' when it began in an earlier call); messages and bytes in all queues, and the time of these totals.
 *
 * Numbers are microseconds since 1970, or the last number plus one when the clock is behind. So Redis never assigns a
 * number again, even after it has lost data. Lua represents such integers exactly.
 */
export const SCRIPT = new Script(`
local LOG, SEQ, CHANGED, TOTALS, SENDER, RETAINED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local NODE, KNOWN, MAX_RETAINED = ARGV[1], ARGV[2], tonumber(ARGV[3])
local MAX_LOG, MAX_LOG_BYTES, MAX_MESSAGES, MAX_BYTES =
  tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local k, a = 6, 7
local function key() k = k + 1; return KEYS[k] end
local function arg() a = a + 1; return ARGV[a] end
local call = redis.call
local results, drops, stale = {}, {}, ''

local function append(kind, retain, value)
  local last = call('GET', SEQ) or '0'
  local time = call('TIME')
  local number = time[1] * 1000000 + time[2]
  if number <= tonumber(last) then number = tonumber(last) + 1 end
  local seq = string.format('%.0f', number)
  call('SET', SEQ, seq)
  call('XADD', LOG, seq .. '-0', kind .. ':' .. retain .. ':' .. last, value)
  local bytes = call('HINCRBY', TOTALS, 'log', #value)
  while bytes > MAX_LOG_BYTES or call('XLEN', LOG) > MAX_LOG do
    local oldest = call('XRANGE', LOG, '-', '+', 'COUNT', 32)
    if #oldest < 2 then break end
    local freed = 0
    for i = 1, #oldest - 1 do freed = freed + #oldest[i][2][2] end
    call('XTRIM', LOG, 'MINID', oldest[#oldest][1])
    bytes = call('HINCRBY', TOTALS, 'log', -freed)
  end
  return seq
end

local function total(messages, bytes)
  if messages ~= 0 then call('HINCRBY', TOTALS, 'messages', messages) end
  if bytes ~= 0 then call('HINCRBY', TOTALS, 'bytes', bytes) end
end

local function bound(queue, packets, client)
  local count, bytes = call('ZCARD', queue), tonumber(call('HGET', packets, 'bytes') or '0')
  if count <= MAX_MESSAGES and bytes <= MAX_BYTES then return end
  local began = call('HSETNX', packets, 'dropping', '1') == 1
  local before_count, before_bytes, dropped = count, bytes, 0
  local to_count = MAX_MESSAGES - math.floor(MAX_MESSAGES / 100)
  local to_bytes = MAX_BYTES - math.floor(MAX_BYTES / 100)
  while count > to_count or bytes > to_bytes do
    local seq = call('ZPOPMIN', queue)[1]
    if not seq then break end
    bytes = bytes - call('HSTRLEN', packets, seq)
    call('HDEL', packets, seq, 'id' .. seq)
    count, dropped = count - 1, dropped + 1
  end
  call('HSET', packets, 'bytes', bytes)
  total(-dropped, bytes - before_bytes)
  for _, said in ipairs({ client, dropped, began and before_count or 0, before_bytes }) do
    drops[#drops + 1] = tostring(said)
  end
end

local function remove(queue, packets, seq)
  if call('ZREM', queue, seq) == 0 then return end
  local size = call('HSTRLEN', packets, seq)
  call('HDEL', packets, seq, 'id' .. seq)
  total(-1, -size)
  local count = call('ZCARD', queue)
  if count == 0 then call('DEL', packets); return end
  local bytes = call('HINCRBY', packets, 'bytes', -size)
  if count <= MAX_MESSAGES / 2 and bytes <= MAX_BYTES / 2 then call('HDEL', packets, 'dropping') end
end

local function changed(client, owner, filters)
  local seq = append('s', '', cjson.encode({ client, owner, filters }))
  call('SET', CHANGED, seq)
  return seq
end

local function publish(counter, body, topic, retain, sessions)
  local newest = call('GET', CHANGED) or '0'
  if newest ~= KNOWN then stale = newest; return nil end
  local targets = {}
  for i = 1, sessions do targets[i] = { key(), key(), arg(), arg() } end
  if tonumber(counter) <= tonumber(call('GET', SENDER) or '0') then return { '' } end
  if retain == 'set' and call('HLEN', RETAINED) >= MAX_RETAINED and call('HEXISTS', RETAINED, topic) == 0 then
    retain = 'full'
  end
  local seq = append('p', retain, body)
  if retain == 'set' then
    -- The number replaces the counter in the encoded message.
    local number = struct.pack('>d', tonumber(seq))
    call('HSET', RETAINED, topic, string.sub(body, 1, 4) .. number .. string.sub(body, 13))
  elseif retain == 'clear' then
    call('HDEL', RETAINED, topic)
  end
  if sessions > 0 then
    -- Only new subscribers get a message as retained: in a queue the flag is cleared [MQTT-3.3.1-9].
    local flags = string.byte(body)
    local rest, plain = string.sub(body, 2), flags % 8
    for _, target in ipairs(targets) do
      local queue, packets, client, lower = target[1], target[2], target[3], target[4]
      local value = string.char(lower == '1' and plain - 1 or plain) .. rest
      call('ZADD', queue, seq, seq)
      call('HSET', packets, seq, value)
      call('HINCRBY', packets, 'bytes', #value)
      total(1, #value)
      bound(queue, packets, client)
    end
  end
  call('SET', SENDER, counter, 'EX', 86400)
  return { retain }
end

local op = {}

-- p: appends a publication to the log. P: also queues and retains it.
op.p = function() return publish(arg(), arg(), '', '', 0) end
op.P = function() return publish(arg(), arg(), arg(), arg(), tonumber(arg())) end

-- Stores the id with which a queued message is sent.
op.S = function()
  local packets, seq, id = key(), arg(), arg()
  if call('HEXISTS', packets, seq) == 1 then call('HSET', packets, 'id' .. seq, id) end
  return {}
end

-- PUBREC: replaces the message by its PUBREL.
op.R = function()
  local packets, seq, body = key(), arg(), arg()
  local size = call('HSTRLEN', packets, seq)
  if size == 0 then return {} end
  call('HSET', packets, seq, body)
  call('HDEL', packets, 'id' .. seq)
  call('HINCRBY', packets, 'bytes', #body - size)
  total(0, #body - size)
  return {}
end

-- PUBACK or PUBCOMP: removes the message from the queue.
op.A = function()
  remove(key(), key(), arg())
  return {}
end

-- Applies the current limits to a queue: they may be lower than in the previous run.
op.Q = function()
  bound(key(), key(), arg())
  return {}
end

local function wipe(owners, filters, seen, incoming, queue, packets, client)
  total(-call('ZCARD', queue), -tonumber(call('HGET', packets, 'bytes') or '0'))
  call('HDEL', owners, client)
  call('HDEL', filters, client)
  call('ZREM', seen, client)
  call('DEL', incoming, queue, packets)
end

-- Keeps or creates a session for its owner. Discards a session of another owner with this key.
op.K = function()
  local owners, filters, seen, incoming, queue, packets = key(), key(), key(), key(), key(), key()
  local client, owner, identity, now, max = arg(), arg(), arg(), arg(), tonumber(arg())
  local known = call('HGET', owners, client)
  if known and cjson.decode(known).identity ~= identity then
    wipe(owners, filters, seen, incoming, queue, packets, client)
  elseif not known and call('HLEN', owners) >= max then
    return { 'full' }
  end
  call('ZADD', seen, now, client)
  local seq = ''
  if known ~= owner then
    call('HSET', owners, client, owner)
    seq = changed(client, owner, call('HGET', filters, client) or '')
  end
  local result = { 'kept', seq }
  for _, id in ipairs(call('SMEMBERS', incoming)) do result[#result + 1] = id end
  return result
end

-- Stores the filters of a session.
op.F = function()
  local owners, all = key(), key()
  local client, filters = arg(), arg()
  local owner = call('HGET', owners, client)
  if not owner then return { '' } end
  if call('HGET', all, client) == filters then return { '' } end
  call('HSET', all, client, filters)
  return { changed(client, owner, filters) }
end

-- Discards a session, if it was last used before the given moment and has the given owner.
op.D = function()
  local owners, filters, seen, incoming, queue, packets = key(), key(), key(), key(), key(), key()
  local client, moment, owner = arg(), arg(), arg()
  local known = call('HGET', owners, client)
  if not known then return { '' } end
  if moment ~= '' and tonumber(call('ZSCORE', seen, client) or '0') >= tonumber(moment) then return { '' } end
  if owner ~= '' and known ~= owner then return { '' } end
  wipe(owners, filters, seen, incoming, queue, packets, client)
  return { changed(client, '', '') }
end

-- Updates the last use of sessions.
op.T = function()
  local seen, now = key(), arg()
  for _ = 1, tonumber(arg()) do call('ZADD', seen, 'XX', now, arg()) end
  return {}
end

-- Announces a client that has connected: other nodes close its older connections.
op.C = function()
  return { append('c', '', cjson.encode({ NODE, arg(), arg(), arg() })) }
end

-- Adds and removes message ids of QoS 2 publications whose PUBREL has not arrived yet.
op.I = function()
  local incoming, seconds = key(), arg()
  call('SADD', incoming, arg())
  if seconds ~= '0' then call('EXPIRE', incoming, seconds) end
  return {}
end
op.J = function() call('SREM', key(), arg()); return {} end

-- W: stores a will. V: removes it, if it is the given node's. X: claims it from a dead node.
op.W = function() call('HSET', key(), arg(), arg()); return {} end
op.V = function()
  local wills, client, node = key(), arg(), arg()
  local will = call('HGET', wills, client)
  if will and (node == '' or cjson.decode(will).brokerId == node) then call('HDEL', wills, client) end
  return {}
end
op.X = function()
  local wills, client, from, to = key(), arg(), arg(), arg()
  local will = call('HGET', wills, client)
  if will == to then return { 'yes' } end
  if will ~= from then return { 'no' } end
  call('HSET', wills, client, to)
  return { 'yes' }
end

-- Writes a heartbeat. Returns the nodes with a recent one.
op.N = function()
  local nodes, life = key(), tonumber(arg())
  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  call('ZADD', nodes, now, NODE)
  call('ZREMRANGEBYSCORE', nodes, '-inf', now - 86400000)
  return call('ZRANGEBYSCORE', nodes, now - life, '+inf')
end
op.E = function() call('ZREM', key(), NODE); return {} end

-- Returns an id for a run of a node that sorts after the ids of all earlier runs.
op.B = function()
  local boot = key()
  local time = call('TIME')
  local number = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(call('GET', boot) or '0') + 1)
  call('SET', boot, string.format('%.0f', number))
  return { string.format('%.0f', number) }
end

-- Does nothing: its answer shows that all earlier operations are done.
op.Z = function() return {} end

while a < #ARGV do
  local result = op[arg()]()
  if not result then break end
  results[#results + 1] = result
end
local totals = call('HMGET', TOTALS, 'messages', 'bytes')
local time = call('TIME')
return { results, stale, drops, totals[1] or '0', totals[2] or '0', string.format('%.0f', time[1] * 1000000 + time[2]) }
`);
