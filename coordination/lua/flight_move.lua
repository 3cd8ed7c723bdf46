-- Reports that a tenant's write of a digest has moved. The writer that is furthest leads.
-- KEYS: flight, index, led
-- ARGV: digest, tenant, offset (bytes), total (bytes), patience (ms), wait (ms)
-- Returns: 1 if this tenant leads, else 0.
-- Run twice: the same values are set again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local digest, tenant, patience, wait = ARGV[1], ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6])
local flight = redis.call('HMGET', KEYS[1], 'leader', 'offset', 'admits')
if flight[1] and flight[1] ~= tenant and tonumber(flight[2]) >= tonumber(ARGV[3]) then
  return 0
end
if flight[1] ~= tenant then
  local admits = flight[3]
  if not flight[1] then
    local led = redis.call('HMGET', KEYS[3], 'leader', 'admits')
    admits = led[1] == tenant and led[2] or now + wait
    redis.call('HSET', KEYS[1], 'admits', admits)
  else
    -- The one that was ahead goes on: it needn't wait if its stream breaks.
    redis.call('HSET', KEYS[1], 'also', flight[1])
  end
  redis.call('HSET', KEYS[3], 'leader', tenant, 'admits', admits)
  redis.call('PEXPIRE', KEYS[3], 2 * wait)
end
redis.call('HSET', KEYS[1], 'leader', tenant, 'offset', ARGV[3], 'total', ARGV[4])
redis.call('PEXPIRE', KEYS[1], patience)
redis.call('ZADD', KEYS[2], now + patience, digest)
return 1
