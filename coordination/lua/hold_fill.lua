-- Remembers what a tenant holds of a digest, unless a change of it was under way
-- since the look-up.
-- KEYS: gen, hold, guard
-- ARGV: gen and run id and guard token of the look-up, entry, ttl (ms)
-- Returns: 1, or 0 when refused.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] or run ~= ARGV[2] or
    (redis.call('HGET', KEYS[3], 'token') or '') ~= ARGV[3] or
    redis.call('HLEN', KEYS[3]) > 1 then
  return 0
end
redis.call('HSET', KEYS[2], 'gen', ARGV[1], 'run', ARGV[2], 'entry', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
