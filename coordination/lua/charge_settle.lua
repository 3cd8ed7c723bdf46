-- Records that a hold for which a tenant was charged is there.
-- KEYS: charges
-- ARGV: digest
-- Returns: 1, or 0 if the tenant isn't charged for the digest.
-- Run twice: another gain of the digest may count as settled that isn't. If a Delete comes between
-- that and its hold, the hold isn't charged for until the tenant's holds are counted.
local time = redis.call('TIME')
local size, gains = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+):(%d+):')
if not size then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%s:%d:%.0f:0', size, math.max(0, gains - 1),
  time[1] * 1000000 + time[2]))
return 1
