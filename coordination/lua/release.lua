-- Releases a lease if it is still ours.
-- KEYS: lease
-- ARGV: nonce
-- Returns: 1, or 0 if it wasn't ours any more.
-- Run twice: the second run returns 0; a lease that another stream acquired meanwhile stays.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
