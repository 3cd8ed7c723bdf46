-- Reads what a tenant is charged for.
-- KEYS: charges, use
-- ARGV: digest, or ""
-- Returns: {when the digest was charged for (μs) or "", bytes, digests, when they were last
--          counted (ms) or 0, now (ms)}
-- Run twice: nothing changes.
local time = redis.call('TIME')
local use = redis.call('HMGET', KEYS[2], 'bytes', 'digests', 'counted')
local entry = redis.call('HGET', KEYS[1], ARGV[1]) or ''
return {string.match(entry, '^%d+:%d+:(%d+):') or '', use[1] or '0', use[2] or '0', use[3] or '0',
  string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))}
