-- Announces a change of what a tenant holds of a digest, before S3 is touched.
-- KEYS: gen, hold, guard
-- ARGV: token of the change, ttl of the guard (ms), ttl of gen (ms), "1" to forget all of
--       the tenant's entries
-- Returns: 1
-- Run twice: gen is raised twice, and a run after the change's end keeps fills away
-- until it has run out; both cost misses only.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[3], 'change:' .. ARGV[1], string.format('began:%.0f', now),
  'token', ARGV[1] .. ':' .. time[1] .. ':' .. time[2])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[2])
if ARGV[4] == '1' then
  redis.call('INCR', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
