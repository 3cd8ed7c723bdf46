-- Asks the cache what a tenant holds of a digest. It writes, so that a master
-- that was demoted, or has lost its replicas, refuses it.
-- KEYS: gen, hold, guard
-- ARGV: ttl (ms)
-- Returns: {gen, run id, guard token, entry or ""}; the entry only if it was filled
-- under today's gen and by today's server.
redis.call('PEXPIRE', KEYS[2], ARGV[1])
local gen = redis.call('GET', KEYS[1]) or '0'
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local guard = redis.call('HGET', KEYS[3], 'token') or ''
local entry = redis.call('HMGET', KEYS[2], 'gen', 'run', 'entry')
if entry[1] ~= gen or entry[2] ~= run then
  entry[3] = ''
end
return {gen, run, guard, entry[3]}
