-- The room at one glance: `Queue::survey`. Also tells that the node lives.
--
-- ARGV 24: the whole of it: 1 or 0.
-- Answers `room::queue::Survey` as JSON.
-- One script: numbers of one instant. The whole lists every ended session whose pass could still be shown; whoever knows
-- the room heard of them by events.

local revoked, listed = ARGV[ITEMS] == '1' and call('ZRANGE', REVOKED, 0, -1, 'WITHSCORES') or {}, {}
for i = 1, #revoked, 2 do
    listed[#listed + 1] = format('["%s",%d]', revoked[i], tonumber(revoked[i + 1]))
end
return answer('{' .. head_json() .. ',' .. counts_json() .. ',"control":' .. control_json()
    .. ',"revoked":[' .. table.concat(listed, ',') .. '],"settling_until":' .. settling_json()
    .. ',"nodes":[' .. quoted(nodes_alive()) .. ']}')
