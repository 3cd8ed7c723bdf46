-- Acquires the turn of a digest, so that a tenant's commits of it run one after the other.
-- KEYS: turn
-- ARGV: data key of the commit, the turn whose end the caller has seen, or "", ttl (ms)
-- Returns: 1; or the turn, if another commit has it or has ended since.
-- Run twice: the turn is ours already.
local turn = redis.call('GET', KEYS[1])
if turn and turn ~= ARGV[1] and turn ~= ARGV[2] then
  return turn
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
