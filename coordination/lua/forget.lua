-- Ends an ingest: a committed one (with a done mark), or a dropped or thawed one (without).
-- Its turn, if it has it, ends too: the next commits learn of a commit, not of a drop.
-- And a lease is released, if one is named and is still in force.
-- KEYS: lease, ingest, parts, index, done, open bytes, turn (or none)
-- ARGV: nonce of the stream that ends its own ingest, or "" if any process carried out a
--       frozen commit; data key, ref, done mark or "", its ttl (ms), ttl of an ended turn
--       (ms), nonce of the lease to release or ""
-- Returns: 1; 0 if the ref already has another ingest, or none, or, without a nonce, one
--          that isn't frozen; -1 if the lease isn't ours any more.
-- Run twice: the data key isn't there any more, so that a slow second run can't end the
-- ref's next ingest; nor is the nonce. A stream that ends its own ingest by its nonce releases
-- its lease later, because a second run has to find it.
if ARGV[7] ~= '' and redis.call('HGET', KEYS[1], 'nonce') == ARGV[7] then
  redis.call('DEL', KEYS[1])
end
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return -1
end
if redis.call('HGET', KEYS[2], 'data_key') ~= ARGV[2] then
  return 0
end
if ARGV[1] == '' and redis.call('HEXISTS', KEYS[2], 'frozen') == 0 then
  -- A failover has lost the commit, and another stream may be writing under the same data key.
  return 0
end
-- Whatever a damaged one says, it can be dropped.
local offset = string.match(redis.call('HGET', KEYS[2], 'offset') or '', '^%d+$')
-- What is deleted comes first: a Redis that is full refuses a counter until a script has written.
redis.call('DEL', KEYS[2], KEYS[3])
if offset and #offset < 16 then
  redis.call('DECRBY', KEYS[6], offset)
end
redis.call('ZREM', KEYS[4], ARGV[3])
if redis.call('EXISTS', KEYS[4]) == 0 then
  redis.call('DEL', KEYS[6])
end
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[5], ARGV[4], 'PX', ARGV[5])
end
if KEYS[7] then
  local turn = redis.call('GET', KEYS[7])
  if ARGV[4] == '' then
    if turn == ARGV[2] then
      redis.call('DEL', KEYS[7])
    end
  elseif not turn or turn == ARGV[2] then
    redis.call('SET', KEYS[7], 'ended ' .. ARGV[2], 'PX', ARGV[6])
  end
end
return 1
