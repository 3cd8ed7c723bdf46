-- Stores what a commit will write, so that whoever finds it can carry it out.
-- KEYS: lease, ingest
-- ARGV: nonce, data key, frozen commit
-- Returns: 1, or 0 when the lease or the ingest is lost, or another commit of it is
--          under way.
-- Run twice: the same text is there already.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] or
    redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] then
  return 0
end
if redis.call('HSETNX', KEYS[2], 'frozen', ARGV[3]) == 1 or
    redis.call('HGET', KEYS[2], 'frozen') == ARGV[3] then
  return 1
end
return 0
