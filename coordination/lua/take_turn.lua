-- Takes the turn of a digest: a tenant's commits of it come one after the other.
-- KEYS: turn
-- ARGV: data key of the commit, the turn that the caller has seen the end of, or "", ttl (ms)
-- Returns: 1, or the turn, when another commit has it, or has ended since.
-- Run twice: the turn is ours already.
local turn = redis.call('GET', KEYS[1])
if turn and turn ~= ARGV[1] and turn ~= ARGV[2] then
  return turn
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
