-- Begins an ingest anew at offset 0, under a new data key, because parts of the old upload
-- may still reach the store.
-- KEYS: lease, ingest, parts, index, open bytes
-- ARGV: nonce, old data key, new data key, ref, now (ns)
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
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[2], 'total', 'expected', 'started_at', 'offset')
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'data_key', ARGV[3], 'offset', '0', 'live', '0',
  'total', kept[1] or '0', 'expected', kept[2] or '', 'started_at', kept[3] or ARGV[5],
  'updated_at', ARGV[5])
redis.call('DECRBY', KEYS[5], kept[4] or '0')
redis.call('ZADD', KEYS[4], now, ARGV[4])
return 1
