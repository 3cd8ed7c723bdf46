-- Announces a change of what a tenant holds of a digest, before S3 is touched.
-- KEYS: gen, hold, guard
-- ARGV: token of the change, ttl of the guard (ms), "1" to forget all of the tenant's entries
-- Returns: 1
-- Run twice: gen is raised twice, which costs misses only.
redis.call('HSET', KEYS[3], 'change:' .. ARGV[1], '1', 'token', ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[2])
if ARGV[3] == '1' then
  redis.call('INCR', KEYS[1])
end
return 1
