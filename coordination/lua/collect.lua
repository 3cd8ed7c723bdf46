-- Drops an ingest that nobody has updated for long. One that is being written, or was
-- updated since, is kept; a frozen one is returned, so that the caller can carry it out.
-- KEYS: lease, ingest, parts, index, open bytes
-- ARGV: ref, when a frozen ingest must have been updated last to count as abandoned (ms),
--       the same for others (ms), "1" to change nothing; how long ago that must be by Redis's own
--       clock, for a frozen one and for others (ms)
-- Returns: {"kept"}, {"frozen", {field, value, …}, {part, …}} or
--          {"gone", {field, value, …}}, without fields if only its index entry was left
-- Run twice: nothing is left to drop.
local ingest = redis.call('HGETALL', KEYS[2])
local dry = ARGV[4] == '1'
if #ingest > 0 then
  -- By Redis's clock. What `updated_at` says is the clock of whoever updated it.
  local moved = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]) or math.huge)
  local frozen = redis.call('HEXISTS', KEYS[2], 'frozen') == 1
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local limit = math.min(tonumber(frozen and ARGV[2] or ARGV[3]), now - (frozen and ARGV[5] or ARGV[6]))
  if redis.call('EXISTS', KEYS[1]) == 1 or moved > limit then
    return {'kept'}
  end
  if frozen then
    return {'frozen', ingest, redis.call('LRANGE', KEYS[3], 0, -1)}
  end
end
if not dry then
  -- Whatever a damaged one says, it can be dropped.
  local offset = string.match(redis.call('HGET', KEYS[2], 'offset') or '', '^%d+$')
  -- What is deleted comes first: a Redis that is full refuses a counter until a script has written.
  redis.call('DEL', KEYS[2], KEYS[3])
  if offset and #offset < 16 then
    redis.call('DECRBY', KEYS[5], offset)
  end
  redis.call('ZREM', KEYS[4], ARGV[1])
  if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('DEL', KEYS[5])
  end
end
return {'gone', ingest}
