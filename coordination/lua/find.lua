-- Reads ingests as they stand, and whether somebody writes them.
-- KEYS: (ingest, lease) of each ref
-- ARGV: none
-- Returns: {{field, value, …}, 1 or 0} for each ref, one after the other; no fields
--          where there is no ingest.
-- Run twice: it changes nothing.
local found = {}
for i = 1, #KEYS, 2 do
  found[i] = redis.call('HGETALL', KEYS[i])
  found[i + 1] = redis.call('EXISTS', KEYS[i + 1])
end
return found
