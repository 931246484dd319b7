-- What every script ends with: JSON as `room::queue` reads it, events, the answer.

local function quoted(ids)
    return #ids > 0 and '"' .. table.concat(ids, '","') .. '"' or ''
end

-- How many a set holds, once all is written.
local sizes = {}
local function size_of(key)
    sizes[key] = sizes[key] or call('ZCARD', key)
    return sizes[key]
end

local function waiting()
    return size_of(LINE) - behind
end

local function taken()
    return size_of(TURNS) + size_of(ACTIVE) + unknown()
end

local function head_json()
    return format('"incarnation":"%s","seq":%d,"step":%d,"clock":%d,"front":%d,"taken":%d,"entry":%d,"offer":%d',
        room.incarnation, room.seq, room.step, clock, room.front, taken(), room.entry, room.offer)
end

local function counts_json()
    return format('"waiting":%d,"returning":%d,"turns":%d,"active":%d,"admitted":%d,'
        .. '"entered":%d,"abandoned":%d,"lapsed":%d,"ended":%d,"set_aside":%d',
        waiting(), size_of(RETURNS) + behind, size_of(TURNS), size_of(ACTIVE),
        room.admitted, room.entered, room.abandoned, room.lapsed, room.ended, room.set_aside)
end

local function control_json()
    local paused = 'null'
    if room.since > 0 then
        paused = format('{"since":%d,"reason":', room.since)
            .. (room.reason == '' and 'null' or room.reason) .. '}'
    end
    return format('{"version":%d,"new_users_per_minute":%d,"total_active_users":%d,"paused":',
            room.version, room.rate, room.limit)
        .. paused .. ',"message":' .. (room.message == '' and 'null' or room.message)
        .. format(',"mode":"%s","file":{"new_users_per_minute":%d,"total_active_users":%d}}',
            room.mode, room.file_rate, room.file_limit)
end

local function settling_json()
    return settling() and text(room.settling_until) or 'null'
end

-- Numbers, keeps and publishes an event. The views are flushed before: it counts what Redis holds.
local function announce(lists)
    room.seq = room.seq + 1
    local event = '{' .. head_json() .. ',"counts":{' .. counts_json() .. '},"control":' .. control_json()
        .. ',"turns":[' .. (lists.turns or '') .. '],"lapsed":[' .. (lists.lapsed or '')
        .. '],"revoked":[' .. (lists.revoked or '') .. '],"absent":[' .. (lists.absent or '')
        .. '],"ruler":' .. (lists.ruler or 'null') .. ',"settling_until":' .. settling_json()
        .. ',"nodes":[' .. (lists.nodes or '') .. ']}'
    call('XADD', TICKS, 'MAXLEN', EVENTS_KEPT, text(room.seq) .. '-0', 'event', event)
    call(publish, CHANNEL, event)
    return event
end

-- Saves, and answers: the head (incarnation, seq, step, clock, front, slots taken, entry, offer), length of the line,
-- value.
local function answer(value)
    save()
    return {
        room.incarnation, room.seq, room.step, clock, room.front, taken(), room.entry, room.offer,
        waiting(), value,
    }
end
