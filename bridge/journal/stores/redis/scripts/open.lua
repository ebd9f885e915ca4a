-- Opens the journal, or creates it if `meta` is missing. Keys that remain after an eviction of `meta` are useless, so
-- they are deleted.
--
-- Arguments: prefix, a name for a new epoch.
-- Returns the epoch, the head, the stamp, the highest floor of removed channels, of the publications the last position
-- and the number of bytes that were ever written, and `origins`.

local prefix, candidate = ARGV[1], ARGV[2]
local meta = redis.call('HMGET', prefix .. 'meta', 'epoch', 'head', 'stamp', 'forgotten', 'published', 'publishedBytes',
  'origins')
-- Keys of an earlier format.
redis.call('UNLINK', prefix .. 'sessions', prefix .. 'sessions-used', prefix .. 'instances')
if meta[1] then return {meta[1], meta[2], meta[3], meta[4] or '0', meta[5] or '0', meta[6] or '0', meta[7] or ''} end
for _, channel in ipairs(redis.call('HKEYS', prefix .. 'kept')) do redis.call('UNLINK', prefix .. 'channel:' .. channel) end
for _, run in ipairs(redis.call('ZRANGE', prefix .. 'estates', 0, -1)) do
  redis.call('UNLINK', prefix .. 'unemitted:' .. run, prefix .. 'partial:' .. run, prefix .. 'open:' .. run,
    prefix .. 'mqtt-held:' .. run)
end
for _, sender in ipairs(redis.call('ZRANGE', prefix .. 'senders', 0, -1)) do
  redis.call('UNLINK', prefix .. 'sessions:' .. sender, prefix .. 'sessions-used:' .. sender)
end
for _, name in ipairs({'log', 'kept', 'floors', 'oldest', 'excess', 'held', 'chunk-ids', 'lingering', 'trims', 'ids', 'senders',
    'state', 'estates', 'claims', 'publications', 'compacted', 'publication-floors', 'retained',
    'retained-topics', 'mqtt-rows', 'mqtt-writers', 'mqtt-taken', 'mqtt-masters',
    'mqtt-changes'}) do
  redis.call('UNLINK', prefix .. name)
end
redis.call('HSET', prefix .. 'meta', 'epoch', candidate, 'head', '0', 'stamp', '-')
return {candidate, '0', '-', '0', '0', '0', ''}
