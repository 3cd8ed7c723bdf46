-- Ends the charge for a digest that a tenant has deleted, unless its hold was gained meanwhile.
-- KEYS: charges, use
-- ARGV: digest, when it was charged for (μs) as the caller read it before it deleted anything,
--       or "" if it wasn't
-- Returns: 1, or 0 if the tenant isn't charged for it, or was charged again, or is gaining it.
-- Run twice: the charge is gone already.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local entry = redis.call('HGET', KEYS[1], ARGV[1])
local size, gains, charged = string.match(entry or '', '^(%d+):(%d+):(%d+):')
if (charged or '') ~= ARGV[2] or (size and gains ~= '0') then
  return 0
end
if size then
  redis.call('HINCRBY', KEYS[2], 'bytes', '-' .. size)
  redis.call('HINCRBY', KEYS[2], 'digests', -1)
  redis.call('HDEL', KEYS[1], ARGV[1])
end
if tonumber(redis.call('HGET', KEYS[2], 'counting') or 0) > now / 1000 then
  -- The count that is under way may have listed the hold before it was deleted.
  redis.call('HSET', KEYS[1], ARGV[1], string.format('gone:%.0f', now))
end
return size and 1 or 0
