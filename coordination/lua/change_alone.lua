-- Asks whether the announcement of a change is still in force, and is the only one.
-- KEYS: guard
-- ARGV: token of the change
-- Returns: 1, or 0 when it is gone, or another change is under way.
-- Run twice: nothing is changed; the write keeps a demoted master from answering.
redis.call('HDEL', KEYS[1], 'no such field')
local own, seen = 'change:' .. ARGV[1], 0
for field, value in pairs(redis.call('HGETALL', KEYS[1])) do
  if field % 2 == 0 and string.match(value, '^began:') then
    seen = seen + 1
  end
end
return seen == 1 and redis.call('HEXISTS', KEYS[1], own) or 0
