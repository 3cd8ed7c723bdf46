-- Announces a change of what a tenant holds of a digest, before the change touches S3.
-- KEYS: gen, hold, guard
-- ARGV: token of the change, ttl of the guard (ms), ttl of gen (ms), "1" to invalidate all
--       of the tenant's entries, how many other changes the guard lists one by one
-- Returns: 1
-- Run twice: gen is incremented twice, and after a run that follows the change's end, fills
-- are refused until that announcement expires. Both cost only misses.
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
local own, others, earlier = 'change:' .. ARGV[1], {}, 0
local fields = redis.call('HGETALL', KEYS[3])
for i = 1, #fields, 2 do
  local began = tonumber(string.match(fields[i + 1], '^began:(%d+)$'))
  if began and began > now then
    -- The clock was set back; the change began before now in any case.
    began = now
    redis.call('HSET', KEYS[3], fields[i], string.format('began:%.0f', now))
  end
  if began and now - began >= ttl then
    redis.call('HDEL', KEYS[3], fields[i])
  elseif began and fields[i] == 'earlier' then
    earlier = began
  elseif began and fields[i] ~= own then
    others[#others + 1] = {fields[i], began}
  end
end
-- The changes that began first are merged into one that lasts as long as the last of them. If
-- one of them is still under way, it can't be confirmed any more, and its end doesn't remove
-- the merged one.
table.sort(others, function(one, other) return one[2] < other[2] end)
for i = 1, #others - ARGV[5] do
  earlier = math.max(earlier, others[i][2])
  redis.call('HDEL', KEYS[3], others[i][1])
  redis.call('HSET', KEYS[3], 'earlier', string.format('began:%.0f', earlier))
end
redis.call('HSET', KEYS[3], own, string.format('began:%.0f', now),
  'token', ARGV[1] .. ':' .. time[1] .. ':' .. time[2])
redis.call('PEXPIRE', KEYS[3], ttl)
redis.call('DEL', KEYS[2])
if ARGV[4] == '1' then
  redis.call('INCR', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
