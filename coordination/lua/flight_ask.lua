-- Asks whether a tenant may write a digest now, or somebody else writes it already.
-- KEYS: flight, waiting, index, led
-- ARGV: digest, tenant, total (bytes), patience (ms), wait (ms)
-- Returns: {"admitted"}, or {"wait", leader, offset, total, ms until another is admitted}
-- Run twice: a tenant that was admitted is admitted again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local digest, tenant, patience, wait = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local flight = redis.call('HMGET', KEYS[1], 'leader', 'also', 'admits', 'offset', 'total')
local leader, admits = flight[1], nil
if not leader then
  -- Who lets its flights lapse, and leads again, keeps others waiting for no longer than one leader.
  local led = redis.call('HMGET', KEYS[4], 'leader', 'admits')
  leader, admits = tenant, led[1] == tenant and led[2] or now + wait
  redis.call('HSET', KEYS[1], 'leader', tenant, 'offset', '0', 'total', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], patience)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  redis.call('ZADD', KEYS[3], now + patience, digest)
elseif leader ~= tenant and flight[2] ~= tenant then
  local left = tonumber(flight[3]) - now
  if left > 0 then
    redis.call('ZADD', KEYS[2], now, tenant)
    redis.call('PEXPIRE', KEYS[2], 2 * wait)
    return {'wait', leader, tonumber(flight[4]), tonumber(flight[5]), left}
  end
  admits = now + wait
  redis.call('HSET', KEYS[1], 'also', tenant)
end
if admits then
  redis.call('HSET', KEYS[1], 'admits', admits)
  redis.call('HSET', KEYS[4], 'leader', leader, 'admits', admits)
  redis.call('PEXPIRE', KEYS[4], 2 * wait)
end
redis.call('ZREM', KEYS[2], tenant)
return {'admitted'}
