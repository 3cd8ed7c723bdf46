-- Stores what a commit will write, so that any process that finds it can carry it out. If
-- the key of its digest's turn is given, it acquires that turn.
-- KEYS: lease, ingest, turn (or none)
-- ARGV: nonce, data key, frozen commit, the turn whose end the caller has seen, or "",
--       ttl of a turn (ms)
-- Returns: 1; 0 if the lease or the ingest is lost, or another commit of it is under way;
--          or the turn, if another commit has it or has ended since.
-- Run twice: the same text is there already, and the turn is ours.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] or
    redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] then
  return 0
end
local frozen = redis.call('HGET', KEYS[2], 'frozen')
if frozen then
  return frozen == ARGV[3] and 1 or 0
end
if KEYS[3] then
  local turn = redis.call('GET', KEYS[3])
  if turn and turn ~= ARGV[2] and turn ~= ARGV[4] then
    return turn
  end
  redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[5])
end
redis.call('HSET', KEYS[2], 'frozen', ARGV[3])
return 1
