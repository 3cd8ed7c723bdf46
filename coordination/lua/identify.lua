-- Returns the name under which a store knows this Redis, and sets it if there is none.
-- KEYS: the name
-- ARGV: the name to set, "" only to ask; a name that it replaces, or ""
-- Returns: the name, or "" if there is none.
-- Run twice: the name is set already.
local known = redis.call('GET', KEYS[1])
if ARGV[1] == '' or (known and known ~= ARGV[2]) then
  return known or ''
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
