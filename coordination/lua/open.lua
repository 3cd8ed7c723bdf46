-- Acquires the lease on a ref and returns its ingest, which is created if there is none.
-- KEYS: lease, ingest, parts, index, done, open bytes, index of tenants (or none)
-- ARGV: nonce, owner, ttl (ms), now (ns), data key of a new ingest, ref, tenant, most ingests
--       that the tenant may have, or ""; most bytes that all of them may have, or ""; the newest
--       layout of an ingest that the caller knows
-- Returns: {"held", owner, since (ns), "1" if it is about to be released}
--      or: {"full", ingests}, if the ref has none and the tenant has that many
--      or: {"crowded", bytes}, if the ref has none and the tenant's have that many bytes
--      or: {"newer", layout}, if the ref has an ingest of a layout that the caller doesn't know
--      or: {"open", {field, value, …}, {part, …}, done mark or "", bytes of all its ingests}
-- Run twice: the nonce is known, so that the second run changes nothing but the ttl and the
-- tenant's score, no matter what the writer has done since.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if KEYS[7] then
  -- At each opening: if Redis has lost its index, no ingest may be left that no collector finds.
  redis.call('ZADD', KEYS[7], now, ARGV[7])
end
local bytes = tonumber(redis.call('GET', KEYS[6]) or 0)
local holder = redis.call('HGET', KEYS[1], 'nonce')
if holder and holder ~= ARGV[1] then
  local lease = redis.call('HMGET', KEYS[1], 'owner', 'since', 'ending')
  return {'held', lease[1] or '', lease[2] or '', lease[3] or ''}
end
if not holder then
  local layout = redis.call('HGET', KEYS[2], 'layout')
  if layout and (tonumber(layout) or 0) > tonumber(ARGV[10]) then
    return {'newer', layout}
  end
  if redis.call('EXISTS', KEYS[2]) == 0 then
    local ingests = redis.call('ZCARD', KEYS[4])
    if ARGV[8] ~= '' and ingests >= tonumber(ARGV[8]) then
      return {'full', ingests}
    end
    if ARGV[9] ~= '' and bytes >= tonumber(ARGV[9]) then
      return {'crowded', bytes}
    end
  end
  redis.call('HSET', KEYS[1], 'nonce', ARGV[1], 'owner', ARGV[2], 'since', ARGV[4])
  if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('DEL', KEYS[3])
    redis.call('HSET', KEYS[2], 'data_key', ARGV[5], 'offset', '0', 'live', '0', 'total', '0',
      'expected', '', 'started_at', ARGV[4], 'updated_at', ARGV[4])
    redis.call('ZADD', KEYS[4], now, ARGV[6])
  elseif redis.call('HEXISTS', KEYS[2], 'frozen') == 0 then
    if redis.call('LLEN', KEYS[3]) == 0 and redis.call('HEXISTS', KEYS[2], 'sealed') == 0 then
      -- Without parts, no durable bytes are under the data key, but an earlier writer may
      -- have put a small object there, which must never change.
      redis.call('HSET', KEYS[2], 'data_key', ARGV[5])
      redis.call('HDEL', KEYS[2], 'upload_id', 'begun')
    end
    -- Bytes that an earlier writer received but couldn't make durable are lost.
    redis.call('HSET', KEYS[2], 'live', redis.call('HGET', KEYS[2], 'offset'))
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'open', redis.call('HGETALL', KEYS[2]), redis.call('LRANGE', KEYS[3], 0, -1),
  redis.call('GET', KEYS[5]) or '', bytes}
