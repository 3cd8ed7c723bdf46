-- Reads what frontends are doing, of those that have announced it lately.
-- KEYS: index, figures
-- ARGV: the most frontends, the most bytes of one's figures
-- Returns: {figures, …}
-- Run twice: it changes nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
local names = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. now, 'LIMIT', 0, ARGV[1])
for _, name in ipairs(names) do
  local figures = redis.call('HGET', KEYS[2], name)
  if figures and #figures <= tonumber(ARGV[2]) then
    found[#found + 1] = figures
  end
end
return found
