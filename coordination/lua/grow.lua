-- Adds what a frontend's commits have added to the fleet, and returns what all frontends' have.
-- KEYS: growth, what the frontend has reported (or none)
-- ARGV: a name for the growth if it has none; how long it lasts (ms); bytes that the frontend has
--       added since it started, those that it has reported among them, how long its report is
--       remembered (ms)
-- Returns: {the growth's name, bytes that all frontends have added since it was named}
-- Run twice: the same total was reported already, and adds nothing; nor does a run that comes late,
-- after later totals, or make the next report add them again.
-- What can't be a sum of reports was written by something else, and the growth begins anew, under
-- another name.
local bytes = redis.call('HGET', KEYS[1], 'bytes')
if bytes and (#bytes > 18 or not string.match(bytes, '^%d+$')) then
  redis.call('DEL', KEYS[1])
end
redis.call('HSETNX', KEYS[1], 'name', ARGV[1])
if KEYS[2] then
  local reported = tonumber(redis.call('GET', KEYS[2]) or ARGV[4])
  if tonumber(ARGV[3]) > reported then
    redis.call('HINCRBY', KEYS[1], 'bytes', string.format('%.0f', ARGV[3] - reported))
    redis.call('SET', KEYS[2], ARGV[3])
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local growth = redis.call('HMGET', KEYS[1], 'name', 'bytes')
return {growth[1], growth[2] or '0'}
