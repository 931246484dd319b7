-- Events after a number, oldest first: `Store::missed`. Stands alone, without the prelude.
--
-- KEYS: state, ticks. ARGV: the newest number that the caller has.
-- Answers the events as JSON strings, or nothing when some of them are no longer kept.
-- One script: the stream and the number of the newest event must be of one instant.

local seen = tonumber(ARGV[1])
local newest = tonumber(redis.call('HGET', KEYS[1], 'seq')) or 0
if newest <= seen then return {} end
local entries = redis.call('XRANGE', KEYS[2], string.format('%d', seen + 1), '+')
if #entries == 0 or tonumber(string.match(entries[1][1], '^%d+')) ~= seen + 1 then return false end
local events = {}
for i, entry in ipairs(entries) do events[i] = entry[2][2] end
return events
