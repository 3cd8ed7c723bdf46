-- Asks the cache what a tenant holds of a digest. It writes, so that a master
-- that was demoted, or has lost its replicas, refuses it.
-- KEYS: gen, hold, guard
-- ARGV: ttl of an entry (ms)
-- Returns: {gen, server, guard token, now (ms), entry or ""}; the entry only if it
-- was filled under today's gen and by today's server.
-- Run twice: it only makes what is there last longer. gen outlasts every entry, so
-- that it can't reach an old entry's number a second time.
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
local gen = redis.call('GET', KEYS[1]) or '0'
-- A process keeps its run id when it is demoted and promoted again; replid changes then.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local server = run and replid and run .. ':' .. replid or ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local guard = redis.call('HGET', KEYS[3], 'token') or ''
local entry = redis.call('HMGET', KEYS[2], 'gen', 'server', 'entry')
if server == '' or entry[1] ~= gen or entry[2] ~= server then
  entry[3] = ''
end
return {gen, server, guard, string.format('%.0f', now), entry[3]}
