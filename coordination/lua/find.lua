-- Reads ingests as they are now, and whether a stream is writing each of them.
-- KEYS: (ingest, lease) of each ref
-- ARGV: none
-- Returns: {field, value, …}, 1 or 0 for each ref, all in one flat list; no fields if there
--          is no ingest.
-- Run twice: it changes nothing.
local found = {}
for i = 1, #KEYS, 2 do
  found[i] = redis.call('HGETALL', KEYS[i])
  found[i + 1] = redis.call('EXISTS', KEYS[i + 1])
end
return found
