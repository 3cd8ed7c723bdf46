-- Names the digests in flight, those that lapse last first.
-- KEYS: index
-- ARGV: the most digests
-- Returns: {digest, …}; those whose flight has just lapsed or ended may be among them.
-- Run twice: it changes nothing but drops what has lapsed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)
