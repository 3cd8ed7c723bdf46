-- Records a stored part, and the state of the ingest at its end.
-- KEYS: lease, ingest, parts, index, open bytes
-- ARGV: nonce, data key, ref, now (ns), part number, part, its end, number of fields n,
--       n × (field, value), further fields to remove
-- Returns: bytes of all the tenant's ingests; -1 if the lease or the ingest is lost, or a commit
--          of it is under way; -2 if an earlier part is missing.
-- Run twice: a part that is there already is set to the same value. The last part may be
-- replaced: if it was sent early and short, more bytes may have come. If later bytes were
-- recorded before this run, it changes nothing.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] or
    redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] or
    redis.call('HEXISTS', KEYS[2], 'frozen') == 1 then
  return -1
end
local before, offset = tonumber(redis.call('HGET', KEYS[2], 'offset')), tonumber(ARGV[7])
if offset < before then
  return tonumber(redis.call('GET', KEYS[5]) or 0)
end
local number, known = tonumber(ARGV[5]), redis.call('LLEN', KEYS[3])
if number == known + 1 then
  redis.call('RPUSH', KEYS[3], ARGV[6])
elseif number == known then
  redis.call('LSET', KEYS[3], -1, ARGV[6])
else
  return -2
end
local n = tonumber(ARGV[8])
for i = 9, 8 + 2 * n, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
for i = 9 + 2 * n, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], 'updated_at', ARGV[4])
redis.call('ZADD', KEYS[4], now, ARGV[3])
return redis.call('INCRBY', KEYS[5], string.format('%.0f', offset - before))
