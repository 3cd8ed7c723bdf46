-- Says of a lease that its holder is about to release it: whoever wants the ref may wait for that.
-- KEYS: lease
-- ARGV: nonce
-- Returns: 1, or 0 if the lease isn't ours any more.
-- Run twice: each run says the same.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'ending', '1')
return 1
