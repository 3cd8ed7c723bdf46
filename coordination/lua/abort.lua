-- Revokes a ref's lease, and drops its ingest and the mark of an earlier commit; a frozen
-- ingest and its lease are kept.
-- KEYS: lease, ingest, parts, index, done, open bytes
-- ARGV: ref, channel on which lost nonces are announced
-- Returns: {"frozen", {field, value, …}, {part, …}} or {"gone", {field, value, …}}
-- Run twice: nothing is left to drop.
if redis.call('HEXISTS', KEYS[2], 'frozen') == 1 then
  return {'frozen', redis.call('HGETALL', KEYS[2]), redis.call('LRANGE', KEYS[3], 0, -1)}
end
local nonce = redis.call('HGET', KEYS[1], 'nonce')
if nonce then
  -- This comes first because access rules forbid it most often: then nothing has changed.
  redis.call('PUBLISH', ARGV[2], nonce)
end
local ingest = redis.call('HGETALL', KEYS[2])
-- Whatever a damaged one says, it can be dropped.
local offset = string.match(redis.call('HGET', KEYS[2], 'offset') or '', '^%d+$')
-- What is deleted comes first: a Redis that is full refuses a counter until a script has written.
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[5])
if offset and #offset < 16 then
  redis.call('DECRBY', KEYS[6], offset)
end
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('EXISTS', KEYS[4]) == 0 then
  redis.call('DEL', KEYS[6])
end
return {'gone', ingest}
