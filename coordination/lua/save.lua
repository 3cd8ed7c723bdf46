-- Changes fields of an ingest, if the lease is ours and the data key is that one.
-- KEYS: lease, ingest, index
-- ARGV: nonce, data key, ref, now (ns) or "" to leave updated_at,
--       number of fields n, n × (field, value), further fields to remove
-- Returns: 1, or 0 when the lease or the ingest is lost.
-- Run twice: the same values are set again.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] or
    redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] then
  return 0
end
local n = tonumber(ARGV[5])
for i = 6, 5 + 2 * n, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
for i = 6 + 2 * n, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], 'updated_at', ARGV[4])
  redis.call('ZADD', KEYS[3], string.sub(ARGV[4], 1, -7), ARGV[3])
end
return 1
