-- What each node does regularly: it says which publications it needs, and claims the commands of dead nodes, to report
-- those that are unfinished. It is a write, so it also proves that writing works.
--
-- Arguments: prefix; the sorted set of living nodes; run; the run's entry in `publication-floors`.
-- Returns the epoch or "", the head, and all runs whose commands this run reports.

local prefix, members, run = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local runs, claims = prefix .. 'estates', prefix .. 'claims'
local function lives(other) return call('ZSCORE', members, other) end

local claimed = {}
if lives(run) then
  call('HSET', prefix .. 'publication-floors', run, ARGV[4])
  call('ZADD', runs, 0, run)
  -- While this run was taken for dead, another one may have claimed its commands.
  call('HDEL', claims, run)
  for _, other in ipairs(call('ZRANGE', runs, 0, 1000)) do
    local claimer = call('HGET', claims, other)
    if lives(other) or (claimer and claimer ~= run and lives(claimer)) then
      -- Nothing to claim.
    elseif call('EXISTS', prefix .. 'open:' .. other) == 1 then
      call('HSET', claims, other, run)
      claimed[#claimed + 1] = other
    else
      call('HDEL', claims, other)
      -- What a version before the log has left is taken over first: see take-over.lua.
      if call('EXISTS', prefix .. 'unemitted:' .. other) == 0 then call('ZREM', runs, other) end
    end
  end
end
local meta = call('HMGET', prefix .. 'meta', 'epoch', 'head')
return {meta[1] or '', meta[2] or '0', unpack(claimed)}
