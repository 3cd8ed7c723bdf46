-- Announces the end of a change: a fill whose look-up was made during the change is refused.
-- KEYS: hold, guard
-- ARGV: token of the change, ttl of the guard (ms)
-- Returns: 1
-- Run twice: the guard gets another new token, made with the time: a token that it has had
-- before would allow fills whose look-up was made under that one.
local time = redis.call('TIME')
redis.call('HDEL', KEYS[2], 'change:' .. ARGV[1])
redis.call('HSET', KEYS[2], 'token', ARGV[1] .. ':' .. time[1] .. ':' .. time[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
