-- Ends charges for what a count hasn't found held, some at a time. After the last of them, the
-- tenant's holds are counted.
-- KEYS: charges, use
-- ARGV: cursor, "0" at first, when the count began (ms), how long before that a digest must have
--       been charged for, so that its hold should have been found (ms)
-- Returns: the next cursor, "0" at the end.
-- Run twice: the charges are ended already.
local due = ARGV[2] - ARGV[3]
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
for i = 1, #found[2], 2 do
  local digest, entry = found[2][i], found[2][i + 1]
  local size, charged, seen = string.match(entry, '^(%d+):%d+:(%d+):(%d+)$')
  local last = size and math.max(charged / 1000, seen) or
    tonumber(string.match(entry, '^gone:(%d+)$') or 0) / 1000
  if last < due then
    redis.call('HDEL', KEYS[1], digest)
    if size then
      redis.call('HINCRBY', KEYS[2], 'bytes', '-' .. size)
      redis.call('HINCRBY', KEYS[2], 'digests', -1)
    end
  end
end
if found[1] == '0' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  redis.call('HSET', KEYS[2], 'counted', ARGV[2],
    'server', run and replid and run .. ':' .. replid or '')
  redis.call('HDEL', KEYS[2], 'counting')
end
return found[1]
