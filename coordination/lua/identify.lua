-- Returns the name under which a store knows this Redis, and sets it if there is none.
-- KEYS: the name
-- ARGV: the name to set if there is none; "" only to ask
-- Returns: the name, or "" if there is none.
-- Run twice: the name is set already.
local known = redis.call('GET', KEYS[1])
if known then
  return known
end
if ARGV[1] ~= '' then
  redis.call('SET', KEYS[1], ARGV[1])
end
return ARGV[1]
