-- Records digests that a count has found held. A digest that was deleted since the count began
-- isn't charged for.
-- KEYS: charges, use
-- ARGV: how long a count may stand still (ms), age after which a gain is over, if it isn't
--       settled (ms), ttl (ms), then each digest and its bytes, or "" if they aren't known
-- Returns: the digests for which the tenant isn't charged, because their bytes aren't known.
-- Run twice: the digests are charged for already.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local seen, unknown = math.floor(now / 1000), {}
for i = 4, #ARGV, 2 do
  local entry = redis.call('HGET', KEYS[1], ARGV[i])
  local size, gains, charged = string.match(entry or '', '^(%d+):(%d+):(%d+):')
  if size then
    if now - charged >= ARGV[2] * 1000 then
      gains = '0'
    end
    redis.call('HSET', KEYS[1], ARGV[i],
      string.format('%s:%s:%s:%.0f', size, gains, charged, seen))
  elseif not entry and ARGV[i + 1] == '' then
    unknown[#unknown + 1] = ARGV[i]
  elseif not entry then
    redis.call('HINCRBY', KEYS[2], 'bytes', ARGV[i + 1])
    redis.call('HINCRBY', KEYS[2], 'digests', 1)
    redis.call('HSET', KEYS[1], ARGV[i],
      string.format('%s:0:%.0f:%.0f', ARGV[i + 1], now, seen))
  end
end
redis.call('HSET', KEYS[2], 'counting', string.format('%.0f', seen + ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return unknown
