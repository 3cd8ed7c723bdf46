-- Removes a frontend that ends from those that are announced.
-- KEYS: index, figures
-- ARGV: name
-- Returns: 1 if it was there, else 0.
-- Run twice: there is nothing left to remove.
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
