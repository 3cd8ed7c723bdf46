-- Reads all that is known of a ref, for people.
-- KEYS: lease, ingest, parts, done
-- ARGV: none
-- Returns: {owner or "", since (ns) or "", remaining ttl of the lease (ms), {field, value, …},
--           {part, …}, done mark or ""}; without a lease the ttl is -2, without an ingest there
--           are no fields.
-- Run twice: it changes nothing.
local lease = redis.call('HMGET', KEYS[1], 'owner', 'since')
return {lease[1] or '', lease[2] or '', redis.call('PTTL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]), redis.call('LRANGE', KEYS[3], 0, -1),
  redis.call('GET', KEYS[4]) or ''}
