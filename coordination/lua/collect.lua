-- Drops an ingest that nobody has moved for long; one that is being written, or that
-- has moved since, is left alone, and a frozen one is returned to be carried out.
-- KEYS: lease, ingest, parts, index
-- ARGV: ref, last moment (ms) at which a frozen one counts as left behind, last moment
--       (ms) at which another one does, "1" to change nothing
-- Returns: {"kept"}, {"frozen", {field, value, …}, {part, …}} or
--          {"gone", {field, value, …}}, without fields where only its index entry was left
-- Run twice: there is nothing left to drop.
local ingest = redis.call('HGETALL', KEYS[2])
local dry = ARGV[4] == '1'
if #ingest > 0 then
  local moved = tonumber(string.sub(redis.call('HGET', KEYS[2], 'updated_at') or '', 1, -7)) or 0
  local frozen = redis.call('HEXISTS', KEYS[2], 'frozen') == 1
  if redis.call('EXISTS', KEYS[1]) == 1 or moved > tonumber(frozen and ARGV[2] or ARGV[3]) then
    return {'kept'}
  end
  if frozen then
    return {'frozen', ingest, redis.call('LRANGE', KEYS[3], 0, -1)}
  end
end
if not dry then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[1])
end
return {'gone', ingest}
