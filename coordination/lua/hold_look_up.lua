-- Asks the cache what a tenant holds of some digests. It writes, so that a master
-- that was demoted, or has lost its replicas, refuses it.
-- KEYS: gen, then hold and guard of each digest
-- ARGV: ttl of an entry (ms)
-- Returns: {gen, server, now (ms), then for each digest guard token and entry or ""};
-- an entry only if it was filled under today's gen and by today's server.
-- Run twice: it only makes what is there last longer. gen outlasts every entry, so
-- that it can't reach an old entry's number a second time.
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
local gen = redis.call('GET', KEYS[1]) or '0'
-- A process keeps its run id when it is demoted and promoted again; replid changes then.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local server = run and replid and run .. ':' .. replid or ''
local time = redis.call('TIME')
local found = {gen, server, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))}
for place = 2, #KEYS, 2 do
  redis.call('PEXPIRE', KEYS[place], ARGV[1])
  found[#found + 1] = redis.call('HGET', KEYS[place + 1], 'token') or ''
  local entry = redis.call('HMGET', KEYS[place], 'gen', 'server', 'entry')
  local valid = server ~= '' and entry[1] == gen and entry[2] == server
  found[#found + 1] = valid and entry[3] or ''
end
return found
