-- Gives an ingest without parts another data key: a small object was put under the old
-- key, and then more bytes came.
-- KEYS: lease, ingest
-- ARGV: nonce, old data key, new data key
-- Returns: 1, or 0 if the lease or the ingest is lost, or a commit of it is under way.
-- Run twice: the new data key is there already.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return 0
end
local key = redis.call('HGET', KEYS[2], 'data_key')
if key == ARGV[3] then
  return 1
end
if key ~= ARGV[2] or redis.call('HEXISTS', KEYS[2], 'frozen') == 1 then
  return 0
end
redis.call('HSET', KEYS[2], 'data_key', ARGV[3])
redis.call('HDEL', KEYS[2], 'begun')
return 1
