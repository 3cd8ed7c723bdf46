-- Caches what a tenant holds of a digest, unless a change of it was under way at some time
-- since the look-up.
-- KEYS: gen, hold, guard
-- ARGV: gen, server, guard token and time (ms) of the look-up, entry, ttl of an entry (ms),
--       ttl of a guard (ms)
-- Returns: 1, or 0 if the fill is refused.
-- Run twice: the second run is refused if a change was under way since the look-up.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local server = run and replid and run .. ':' .. replid or ''
if server == '' or server ~= ARGV[2] or (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] or
    (redis.call('HGET', KEYS[3], 'token') or '') ~= ARGV[3] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- After that time, the guard of a change that ended since may have expired.
if now - ARGV[4] >= tonumber(ARGV[7]) then
  return 0
end
for field, value in pairs(redis.call('HGETALL', KEYS[3])) do
  local began = field % 2 == 0 and tonumber(string.match(value, '^began:(%d+)$'))
  if began and now - began < tonumber(ARGV[7]) then
    return 0
  end
end
redis.call('HSET', KEYS[2], 'gen', ARGV[1], 'server', ARGV[2], 'entry', ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[6])
return 1
