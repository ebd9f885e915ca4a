-- Gives the journal a new epoch after it lost entries. A second call with the same arguments does nothing.
--
-- Arguments: prefix; the current epoch; a name for the new epoch; the position up to which the journal has what it had in
-- the current epoch, or "" if nobody knows: then no cursor of an earlier epoch has a meaning.

local meta = ARGV[1] .. 'meta'
local known = redis.call('HMGET', meta, 'epoch', 'origins')
if known[1] ~= ARGV[2] then return 0 end
-- A version before this field leaves it as it is, so it begins with the epoch that it belongs to.
local origins = {ARGV[3]}
if ARGV[4] ~= '' then
  origins[2] = ARGV[2] .. ' ' .. ARGV[4]
  local epoch, others = string.match(known[2] or '', '^(%S+)(.*)$')
  if epoch == ARGV[2] then
    for name, position in string.gmatch(others, '(%S+) (%d+)') do
      if #origins > 16 then break end
      origins[#origins + 1] = name .. ' ' .. string.format('%.0f', math.min(tonumber(position), tonumber(ARGV[4])))
    end
  end
end
redis.call('HSET', meta, 'epoch', ARGV[3], 'origins', table.concat(origins, ' '))
return 1
