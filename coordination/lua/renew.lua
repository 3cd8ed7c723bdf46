-- Renews a lease if it is still ours.
-- KEYS: lease
-- ARGV: nonce, ttl (ms)
-- Returns: 1, or 0 if the lease is lost.
-- Run twice: each run sets the same ttl.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
