-- What is over: sessions whose pass ended, and tickets that nobody can present any more. The tick clears them; while
-- nobody waits there is no tick, and arrivals do.

local MAX_ENDED = '1000'

-- Takes and gives the first members up to a score.
local function drain(key, limit)
    local due = call('ZRANGE', key, '-inf', text(limit), 'BYSCORE', 'LIMIT', '0', MAX_ENDED)
    if #due > 0 then call('ZREMRANGEBYRANK', key, '0', text(#due - 1)) end
    return due
end

-- Those of the visitors who are in none of the sets.
local function in_none(visitors, keys)
    local found = {}
    for _, key in ipairs(keys) do
        for i, score in ipairs(call('ZMSCORE', key, unpack(visitors))) do
            if score then found[visitors[i]] = true end
        end
    end
    local none = {}
    for _, visitor in ipairs(visitors) do
        if not found[visitor] then none[#none + 1] = visitor end
    end
    return none
end

-- After an outage those that ended meanwhile keep their slots for a moment.
local function end_sessions()
    local ended_by = clock < room.hold_until and room.hold_from or clock
    local over = drain(ACTIVE, max(0, ended_by - SLOT_GRACE))
    if #over == 0 then return end
    room.ended = room.ended + #over
    -- Whoever stands in the line again keeps the record of the new place.
    local gone = in_none(over, { LINE, RETURNS, TURNS })
    if #gone > 0 then call('HDEL', OWNER, unpack(gone)) end
end

-- Drops what nobody can present any more.
local function forget()
    drain(SPENT, clock)
    drain(REVOKED, clock)
    local missed = drain(MISSED, clock)
    if #missed > 0 then call('HDEL', MISSES, unpack(missed)) end
end
