-- Checks whether the announcement of a change is still in force.
-- KEYS: guard
-- ARGV: token of the change
-- Returns: 1, or 0 if it is gone: a failover lost it, it expired, or it was merged.
-- Run twice: nothing changes; the write makes a demoted master refuse the script.
redis.call('HDEL', KEYS[1], 'no such field')
return redis.call('HEXISTS', KEYS[1], 'change:' .. ARGV[1])
