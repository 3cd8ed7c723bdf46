-- Reads what all frontends have done within the last hour, of the slots that nobody adds to any more.
-- KEYS: hour
-- ARGV: ms of a slot, the most slots, ms after a slot's end in which frontends still add to it,
--       the most bytes of a slot
-- Returns: {slot, …}, the oldest first
-- Run twice: it changes nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = math.floor((now - ARGV[3]) / ARGV[1]) - 1
local found = {}
local first = last - ARGV[2] + 1
local slots = redis.call('ZRANGEBYSCORE', KEYS[1], first, last, 'LIMIT', 0, ARGV[2])
for _, slot in ipairs(slots) do
  if #slot <= tonumber(ARGV[4]) then
    found[#found + 1] = slot
  end
end
return found
