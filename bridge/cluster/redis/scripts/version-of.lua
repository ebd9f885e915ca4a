-- Returns the version of a document that exists and has not expired. A document is stored as "version expiresAt json";
-- expiresAt may be empty.
local function version_of(stored, now)
  if not stored then return nil end
  local version, expires_at = string.match(stored, '^(%S+) (%S*) ')
  if expires_at ~= '' and tonumber(expires_at) <= now then return nil end
  return version
end
