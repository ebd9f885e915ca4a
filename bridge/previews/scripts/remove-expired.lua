-- Removes previews that arrived before ARGV[1], milliseconds since 1970. KEYS: the prefix. Returns their number.

return removeExpired(tonumber(ARGV[1]))
