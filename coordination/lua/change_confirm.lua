-- Asks whether the announcement of a change is still in force.
-- KEYS: guard
-- ARGV: token of the change
-- Returns: 1, or 0 when it is gone: a failover lost it, or it has run out.
-- Run twice: nothing is changed; the write keeps a demoted master from answering.
redis.call('HDEL', KEYS[1], 'no such field')
return redis.call('HEXISTS', KEYS[1], 'change:' .. ARGV[1])
