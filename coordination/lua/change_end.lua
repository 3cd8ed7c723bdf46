-- Announces that a change is through: what was looked up during it isn't filled in.
-- KEYS: hold, guard
-- ARGV: token of the change, fresh token, ttl of the guard (ms)
-- Returns: 1
-- Run twice: the same tokens are set again.
redis.call('HDEL', KEYS[2], 'change:' .. ARGV[1])
redis.call('HSET', KEYS[2], 'token', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[1])
return 1
