-- Says what this Redis is known by to a store, and makes it known if it isn't.
-- KEYS: what it is known by
-- ARGV: what it is to be known by, "" to ask only
-- Returns: what it is known by, "" if it isn't.
-- Run twice: it is known already.
local known = redis.call('GET', KEYS[1])
if known then
  return known
end
if ARGV[1] ~= '' then
  redis.call('SET', KEYS[1], ARGV[1])
end
return ARGV[1]
