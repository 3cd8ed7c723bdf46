-- Reads ingests as they are now, and which stream is writing each of them.
-- KEYS: (ingest, lease) of each ref
-- ARGV: none
-- Returns: {field, value, …}, nonce of the lease in force or "", for each ref, all in one flat
--          list; no fields if there is no ingest.
-- Run twice: it changes nothing.
local found = {}
for i = 1, #KEYS, 2 do
  found[i] = redis.call('HGETALL', KEYS[i])
  found[i + 1] = redis.call('HGET', KEYS[i + 1], 'nonce') or ''
end
return found
