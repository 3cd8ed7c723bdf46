-- Ends a flight whose leader has given up, so that others needn't wait until it lapses.
-- KEYS: flight, index
-- ARGV: digest, tenant
-- Returns: 1 if the tenant led, else 0.
-- Run twice: another tenant's flight stays.
if redis.call('HGET', KEYS[1], 'leader') ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
