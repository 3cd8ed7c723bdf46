-- Begins a count of a tenant's holds, unless another one is under way.
-- KEYS: use
-- ARGV: how long a count may stand still before it counts as dead (ms), ttl of use (ms)
-- Returns: now (ms), or 0 if another count is under way.
-- Run twice: the second run finds the first one's count; nobody counts until that is dead.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('HGET', KEYS[1], 'counting') or 0) > now then
  return 0
end
redis.call('HSET', KEYS[1], 'counting', string.format('%.0f', now + ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return now
