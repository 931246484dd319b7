-- Visitors and their tickets.

local function to_whole_second(instant)
    return ceil(instant / SECOND) * SECOND
end

local function cap_from()
    return to_whole_second(clock + (rules.renewal and rules.session_max or rules.session_duration))
end

-- Views: sorted sets and records as a batch sees them. Reads come at once for all its members, so do the writes.

local function view(key, members)
    local set = { key = key, score = {}, changed = {}, size = call('ZCARD', key) }
    if set.size > 0 and #members > 0 then
        for i, score in ipairs(call('ZMSCORE', key, unpack(members))) do
            set.score[members[i]] = tonumber(score)
        end
    end
    return set
end

local function put(set, member, score)
    if not set.score[member] then set.size = set.size + 1 end
    set.score[member] = score
    set.changed[member] = true
end

-- Says whether the member was there.
local function drop(set, member)
    if not set.score[member] then return false end
    set.size = set.size - 1
    set.score[member] = nil
    set.changed[member] = true
    return true
end

-- Views of the line and the returns. Whoever of the members is behind the line moves.
local function view_places(members)
    local line, returns = view(LINE, members), view(RETURNS, members)
    line.size, returns.size = line.size - behind, returns.size + behind
    for member, score in pairs(behind > 0 and line.score or {}) do
        if score <= room.passed then
            line.score[member], returns.score[member] = nil, score
            line.changed[member], returns.changed[member] = true, true
            behind = behind - 1
        end
    end
    return line, returns
end

local function flush(set)
    local added, removed = {}, {}
    for member in pairs(set.changed) do
        local score = set.score[member]
        if score then
            added[#added + 1] = text(score)
            added[#added + 1] = member
        else
            removed[#removed + 1] = member
        end
    end
    if #added > 0 then call('ZADD', set.key, unpack(added)) end
    if #removed > 0 then call('ZREM', set.key, unpack(removed)) end
end

-- Records are `node:ticket:cap`; ids are 24 characters each.

local function pack_record(of_node, ticket, cap)
    return of_node .. ':' .. ticket .. ':' .. text(cap)
end

local function node_of(record)
    return sub(record, 1, 24)
end

local function ticket_of(record)
    return sub(record, 26, 49)
end

local function cap_of(record)
    return tonumber(sub(record, 51))
end

local function view_records(visitors)
    local records = { of = {}, changed = {} }
    if #visitors > 0 then
        for i, record in ipairs(call('HMGET', OWNER, unpack(visitors))) do
            records.of[visitors[i]] = record or nil
        end
    end
    return records
end

local function put_record(records, visitor, record)
    if records.of[visitor] == record then return end
    records.of[visitor] = record
    records.changed[visitor] = true
end

local function flush_records(records)
    local set, removed = {}, {}
    for visitor in pairs(records.changed) do
        local record = records.of[visitor]
        if record then
            set[#set + 1] = visitor
            set[#set + 1] = record
        else
            removed[#removed + 1] = visitor
        end
    end
    if #set > 0 then call('HSET', OWNER, unpack(set)) end
    if #removed > 0 then call('HDEL', OWNER, unpack(removed)) end
end

-- End and cap of a session whose pass is still good.
local function session_of(active, records, visitor)
    local ends = active.score[visitor]
    if not ends or ends <= clock then return nil end
    local record = records.of[visitor]
    return ends, record and cap_of(record) or ends
end

-- The deadline of an open turn: one that no tick has ended yet.
local function turn_of(turns, visitor)
    local score = turns.score[visitor]
    return score and score + room.shift or nil
end

-- Takes the visitor out of the turns, the line or the returns; a turn given back can be given again.
local function withdraw(turns, line, returns, visitor)
    if drop(turns, visitor) then
        room.offer = give_back(room.offer, 1, room.rate)
        return true
    end
    return drop(line, visitor) or drop(returns, visitor)
end

-- A ticket that is spent now could be shown until then.
local function spent_until()
    return clock + TICKET_LIFE
end
