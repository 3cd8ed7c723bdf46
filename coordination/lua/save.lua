-- Changes fields of an ingest if the lease is ours and the ingest has that data key.
-- KEYS: lease, ingest, index, open bytes
-- ARGV: nonce, data key, ref, now (ns), number of fields n, n × (field, value),
--       further fields to remove
-- Returns: 1; 0 if the lease is lost; -1 if the ref has another ingest or none, or a commit
--          of it is under way.
-- Run twice: the same values are set again. An offset only grows: a run that sets one
-- changes nothing if that offset or a later one, a checkpoint's included, is there already.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return 0
end
if redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] or
    redis.call('HEXISTS', KEYS[2], 'frozen') == 1 then
  return -1
end
local n = tonumber(ARGV[5])
for i = 6, 5 + 2 * n, 2 do
  if ARGV[i] == 'offset' and
      tonumber(ARGV[i + 1]) <= tonumber(redis.call('HGET', KEYS[2], 'offset')) then
    return 1
  end
end
local before = tonumber(redis.call('HGET', KEYS[2], 'offset'))
for i = 6, 5 + 2 * n, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
for i = 6 + 2 * n, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
local added = tonumber(redis.call('HGET', KEYS[2], 'offset')) - before
if added > 0 then
  redis.call('INCRBY', KEYS[4], string.format('%.0f', added))
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], 'updated_at', ARGV[4])
redis.call('ZADD', KEYS[3], now, ARGV[3])
return 1
