-- The room at one glance: `Queue::survey`. Also tells that the node lives.
--
-- Answers `room::queue::Survey` as JSON.
-- One script: numbers of one instant. A caller who knows nothing yet is listed every ended session whose pass could
-- still be shown; the others heard of them by events.

local revoked, listed = witness and {} or call('ZRANGE', REVOKED, 0, -1, 'WITHSCORES'), {}
for i = 1, #revoked, 2 do
    listed[#listed + 1] = format('["%s",%d]', revoked[i], tonumber(revoked[i + 1]))
end
return answer('{' .. head_json() .. ',' .. counts_json() .. ',"control":' .. control_json()
    .. ',"revoked":[' .. table.concat(listed, ',') .. '],"settling_until":' .. settling_json() .. '}')
