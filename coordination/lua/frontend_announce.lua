-- Announces what a frontend is doing, for as long as it announces it again, and adds it to what all
-- of them have done within the last hour.
-- KEYS: index, figures, hour
-- ARGV: name, figures, ms for which they count, ms of a slot of the hour, slots that are kept,
--       ms of which the rates are, each rate …
-- Returns: 1
-- Run twice: the same is set again. Figures that are there already were added before; no two of a
-- frontend are alike, because they say when they were taken.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(least, most)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], least, most)) do
    redis.call('HDEL', KEYS[2], name)
    redis.call('ZREM', KEYS[1], name)
  end
end
forget('-inf', now)
-- These would count for longer than any announcement does: the clock was set back since, or they
-- aren't ours. Living frontends announce themselves again within seconds.
forget('(' .. now + ARGV[3], '+inf')
local before = redis.call('HGET', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if before == ARGV[2] then
  return 1
end
local width, period = tonumber(ARGV[4]), tonumber(ARGV[6])
local slot = math.floor(now / width)
local FIRST = 6  -- the rates follow
-- Adds the rates to a slot of which they cover so many ms. A newer frontend may have more of them.
local function add(number, ms)
  if ms <= 0 then
    return
  end
  local sums = {}
  local found = redis.call('ZRANGEBYSCORE', KEYS[3], number, number)
  for sum in string.gmatch(found[1] or '', '%S+') do
    sums[#sums + 1] = tonumber(sum) or 0
  end
  local member = {string.format('%.0f', number)}
  for at = 2, math.max(#sums, #ARGV - FIRST + 1) do
    local sum = (sums[at] or 0) + (tonumber(ARGV[FIRST + at - 1]) or 0) * ms / width
    member[at] = string.format('%.9g', sum)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[3], number, number)
  redis.call('ZADD', KEYS[3], number, table.concat(member, ' '))
end
local fresh = math.min(period, now - slot * width)
add(slot, fresh)
add(slot - 1, math.min(period - fresh, width))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', slot - ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '(' .. slot, '+inf')
redis.call('PEXPIRE', KEYS[3], width * ARGV[5])
return 1
