-- Returns an ingest to its last part boundary, because nothing can be appended to its tail
-- or to its short last part.
-- KEYS: lease, ingest, parts, open bytes
-- ARGV: nonce, data key, parts to keep, offset of the boundary
-- Returns: 1, or 0 if the lease or the ingest is lost, or a commit of it is under way.
-- Run twice: the list is trimmed to the same length again.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] or
    redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] or
    redis.call('HEXISTS', KEYS[2], 'frozen') == 1 then
  return 0
end
local keep = tonumber(ARGV[3])
if keep == 0 then
  redis.call('DEL', KEYS[3])
else
  redis.call('LTRIM', KEYS[3], 0, keep - 1)
end
local fewer = tonumber(redis.call('HGET', KEYS[2], 'offset')) - tonumber(ARGV[4])
redis.call('DECRBY', KEYS[4], string.format('%.0f', fewer))
local boundary = redis.call('HGET', KEYS[2], 'boundary_hash')
redis.call('HSET', KEYS[2], 'offset', ARGV[4], 'live', ARGV[4], 'hash', boundary or '',
  'crc', '0', 'crc_filled', '0')
redis.call('HDEL', KEYS[2], 'tail_key', 'tail_size', 'tail_sums')
return 1
