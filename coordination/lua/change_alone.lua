-- Checks whether the announcement of a change is still in force and is the only one.
-- KEYS: guard
-- ARGV: token of the change
-- Returns: 1, or 0 if it is gone or another change is under way.
-- Run twice: nothing changes; the write makes a demoted master refuse the script.
redis.call('HDEL', KEYS[1], 'no such field')
local own, seen = 'change:' .. ARGV[1], 0
for field, value in pairs(redis.call('HGETALL', KEYS[1])) do
  if field % 2 == 0 and string.match(value, '^began:') then
    seen = seen + 1
  end
end
return seen == 1 and redis.call('HEXISTS', KEYS[1], own) or 0
