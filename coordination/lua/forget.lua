-- Ends an ingest: committed (with a done mark), dropped or thawed (without).
-- KEYS: ingest, parts, index, done
-- ARGV: data key, ref, done mark or "", its ttl (ms)
-- Returns: 1, or 0 when the ref has another ingest by now, or none.
-- Run twice: the data key isn't there any more, so a slow second run can't hit
-- the ref's next ingest.
if redis.call('HGET', KEYS[1], 'data_key') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4])
end
return 1
