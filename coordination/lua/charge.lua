-- Charges a tenant for a digest that it is about to hold, unless that exceeds a bound. What it is
-- charged for already exceeds none.
-- KEYS: charges, use
-- ARGV: digest, its bytes, most bytes or "", most digests or "", ttl (ms)
-- Returns: {1, or 0 if it is refused, bytes, digests, when they were last counted (ms) or 0, now (ms)}
-- Run twice: the digest counts as being gained twice, so that it stays charged for until the
-- tenant's holds are counted.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local use = redis.call('HMGET', KEYS[2], 'bytes', 'digests', 'counted', 'server')
local bytes, digests = tonumber(use[1] or 0), tonumber(use[2] or 0)
local size, gains = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+):(%d+):')
local charged = 1
if not size then
  size, gains = ARGV[2], 0
  if (ARGV[3] ~= '' and bytes + size > tonumber(ARGV[3])) or
      (ARGV[4] ~= '' and digests + 1 > tonumber(ARGV[4])) then
    charged = 0
  else
    bytes = redis.call('HINCRBY', KEYS[2], 'bytes', size)
    digests = redis.call('HINCRBY', KEYS[2], 'digests', 1)
  end
end
if charged == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s:%d:%.0f:0', size, gains + 1, now))
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
-- A failover may have lost charges: what another server has counted isn't believed for long.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local counted = run and replid and use[4] == run .. ':' .. replid and use[3] or '0'
return {charged, string.format('%.0f', bytes), digests, counted,
  string.format('%.0f', math.floor(now / 1000))}
