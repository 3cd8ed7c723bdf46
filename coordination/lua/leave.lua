-- Removes a tenant from the index of tenants, unless it was announced again since.
-- KEYS: tenants
-- ARGV: tenant, when it was announced (ms), as the caller read it
-- Returns: 1, or 0 if it was announced again or is gone.
-- Run twice: the tenant is gone already.
local announced = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not announced or tonumber(announced) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
