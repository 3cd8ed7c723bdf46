-- Announces that a change is through: what was looked up during it isn't filled in.
-- KEYS: hold, guard
-- ARGV: token of the change, ttl of the guard (ms)
-- Returns: 1
-- Run twice: the guard gets yet another token, made with the time: one that had been
-- there before would let in what was looked up under it.
local time = redis.call('TIME')
redis.call('HDEL', KEYS[2], 'change:' .. ARGV[1])
redis.call('HSET', KEYS[2], 'token', ARGV[1] .. ':' .. time[1] .. ':' .. time[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
