-- Reads one flight, and who has asked lately and waits.
-- KEYS: flight, waiting
-- ARGV: ms for which who asked counts as waiting, the most tenants to name
-- Returns: {leader or "", offset, total, number of those who wait, {tenant, …}}
-- Run twice: it changes nothing but drops who hasn't asked lately.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local flight = redis.call('HMGET', KEYS[1], 'leader', 'offset', 'total')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
return {flight[1] or '', tonumber(flight[2] or 0) or 0, tonumber(flight[3] or 0) or 0,
  redis.call('ZCARD', KEYS[2]), redis.call('ZREVRANGE', KEYS[2], 0, ARGV[2] - 1)}
