-- Announces what a frontend is doing, for as long as it announces it again.
-- KEYS: index, figures
-- ARGV: name, figures, ms for which they count
-- Returns: 1
-- Run twice: the same is set again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(least, most)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], least, most)) do
    redis.call('HDEL', KEYS[2], name)
    redis.call('ZREM', KEYS[1], name)
  end
end
forget('-inf', now)
-- These would count for longer than any announcement does: the clock was set back since, or they
-- aren't ours. Living frontends announce themselves again within seconds.
forget('(' .. now + ARGV[3], '+inf')
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
