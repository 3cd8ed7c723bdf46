-- Asks the cache what a tenant holds of some digests. The script writes, so that a master
-- that was demoted, or that has lost its replicas, refuses it.
-- KEYS: gen, then hold and guard of each digest
-- ARGV: ttl of an entry (ms)
-- Returns: {gen, server, now (ms), then for each digest guard token and entry or ""};
-- an entry only if it was filled under the current gen and by the current server.
-- Run twice: it only extends the ttl of what is there. gen outlasts every entry, so that
-- it can't reach the number of an old entry a second time.
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
local gen = redis.call('GET', KEYS[1]) or '0'
-- A process that is demoted and promoted again keeps its run id, but its replid changes.
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
