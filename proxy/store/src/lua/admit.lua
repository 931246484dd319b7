-- The tick: `Queue::admit`.
--
-- Answers the event as JSON; the same is kept in `ticks` and published.
-- One script: turns are given by the budgets and the slots of the whole fleet, each visitor to one edge's tick only.
-- Work is bounded: at most so many of each kind as the constants say; what is left is done by the next tick.

local MAX_TURNS = 2000
local MAX_SET_ASIDE = 200
local MAX_SET_BACK = 250
local RETURNS_SHARE = 4
local TICK_GAP = 1 * SECOND
local RULER_EVERY = 1 * SECOND
local EXACT_RANKS = 100
local RANK_FRACTION = 50
-- Up to here two ranks in three are no points, and it is still cheaper to read them all.
local NEAR_RANKS = 200

-- Nobody could claim while no tick came, and nobody can while the store settles: open turns are extended by as much.
-- And no edge was silent for as long as none could speak.
local function bridge_gap()
    local gap = clock - room.ticked
    room.ticked = clock
    local outage = gap > TICK_GAP
    if outage then
        local nodes, moved = call('ZRANGE', NODES, '0', '-1', 'WITHSCORES'), {}
        for i = 1, #nodes, 2 do
            moved[i] = text(min(clock, tonumber(nodes[i + 1]) + gap))
            moved[i + 1] = nodes[i]
        end
        call('ZADD', NODES, unpack(moved))
    end
    if (outage or settling()) and call('ZCARD', TURNS) > 0 then room.shift = room.shift + gap end
end

local function forget_silent()
    call('ZREMRANGEBYSCORE', NODES, '-inf', '(' .. text(max(0, clock - SILENT_NODE)))
end

-- Counts a lapsed turn against each ticket; one that lapsed too often is spent.
local function count_missed(tickets)
    local spent, missed = view(SPENT, {}), view(MISSED, tickets)
    local counts, until_when = {}, spent_until()
    for i, count in ipairs(call('HMGET', MISSES, unpack(tickets))) do counts[tickets[i]] = tonumber(count) end
    for _, ticket in ipairs(tickets) do
        local count = (counts[ticket] or 0) + 1
        if count > rules.missed_turns then
            counts[ticket] = nil
            drop(missed, ticket)
            put(spent, ticket, until_when)
        else
            counts[ticket] = count
            put(missed, ticket, until_when)
        end
    end
    flush(spent)
    flush(missed)
    local kept, dropped = {}, {}
    for _, ticket in ipairs(tickets) do
        if counts[ticket] then
            kept[#kept + 1] = ticket
            kept[#kept + 1] = text(counts[ticket])
        else
            dropped[#dropped + 1] = ticket
        end
    end
    if #kept > 0 then call('HSET', MISSES, unpack(kept)) end
    if #dropped > 0 then call('HDEL', MISSES, unpack(dropped)) end
end

local function lapse_turns()
    local lapsed = drain(TURNS, max(0, clock - room.shift))
    if #lapsed == 0 then return lapsed end
    room.offer = give_back(room.offer, #lapsed, room.rate)
    room.lapsed = room.lapsed + #lapsed
    local records, tickets = view_records(lapsed), {}
    for _, visitor in ipairs(lapsed) do
        local record = records.of[visitor]
        if record then tickets[#tickets + 1] = ticket_of(record) end
    end
    if #tickets > 0 then count_missed(tickets) end
    call('HDEL', OWNER, unpack(lapsed))
    return lapsed
end

-- Moves the first of the places behind the line to the returns, where they count already.
local function set_back(most)
    local count, moved = min(behind, most), {}
    if count == 0 then return end
    local places = call('ZRANGE', LINE, '0', text(count - 1), 'WITHSCORES')
    for i = 1, #places, 2 do moved[i], moved[i + 1] = places[i + 1], places[i] end
    call('ZADD', RETURNS, unpack(moved))
    call('ZREMRANGEBYRANK', LINE, '0', text(count - 1))
    behind = behind - count
end

-- The edges that were heard lately, as a set.
local function alive()
    local nodes = {}
    for _, name in ipairs(call('ZRANGE', NODES, '0', '-1')) do nodes[name] = true end
    return nodes
end

-- How many of the first of a set, from a rank on, are present, up to `wanted`, and who between them is not.
local function look_along(key, from, wanted, nodes)
    local present, silent = 0, {}
    while present < wanted and #silent < MAX_SET_ASIDE do
        local visitors = call('ZRANGE', key, text(from), text(from + wanted - present - 1))
        if #visitors == 0 then break end
        local records = view_records(visitors)
        for _, visitor in ipairs(visitors) do
            if #silent == MAX_SET_ASIDE then break end
            local record = records.of[visitor]
            if record and nodes[node_of(record)] then
                present = present + 1
            else
                silent[#silent + 1] = visitor
            end
        end
        from = from + #visitors
    end
    return present, silent
end

local function set_aside(key, visitors)
    if #visitors == 0 then return end
    room.set_aside = room.set_aside + #visitors
    call('ZREM', key, unpack(visitors))
    call('HDEL', OWNER, unpack(visitors))
end

-- Sets aside places at the front whose edge is silent. Says how many turns may be given: when more are silent than one
-- tick may set aside, only as many as are present in front of the rest. And names who was passed over.
local function pass_over_silent(wanted)
    local nodes = alive()
    local present, from_line = look_along(LINE, behind, wanted, nodes)
    local count = #from_line == MAX_SET_ASIDE and present or wanted
    local _, from_returns = look_along(RETURNS, 0, count, nodes)
    set_aside(LINE, from_line)
    set_aside(RETURNS, from_returns)
    for _, visitor in ipairs(from_returns) do from_line[#from_line + 1] = visitor end
    return count, from_line
end

-- How many turns budgets and slots allow.
local function turns_due()
    local open, inside = call('ZCARD', TURNS), call('ZCARD', ACTIVE)
    local most_open = max(1, floor(room.rate / 60 * (rules.claim_window / SECOND)))
    return min(tokens(room.offer, clock, room.rate), max(0, room.limit - open - inside - unknown()), max(0, most_open - open),
        MAX_TURNS)
end

-- The next visitors: the first of the line, but each fourth time the first of the returns.
local function take_next(count)
    local line = call('ZRANGE', LINE, text(behind), text(behind + count - 1), 'WITHSCORES')
    local returns = call('ZRANGE', RETURNS, '0', text(count - 1))
    local taken, from_line, from_returns = {}, 0, 0
    while #taken < count do
        local visitor = line[2 * from_line + 1]
        local back = returns[from_returns + 1]
        if back and (not visitor or room.admitted % RETURNS_SHARE == RETURNS_SHARE - 1) then
            from_returns = from_returns + 1
            visitor = back
        elseif visitor then
            from_line = from_line + 1
            room.front = max(room.front, tonumber(line[2 * from_line]))
        else
            break
        end
        taken[#taken + 1] = visitor
        room.admitted = room.admitted + 1
    end
    if from_line > 0 then call('ZREMRANGEBYRANK', LINE, text(behind), text(behind + from_line - 1)) end
    if from_returns > 0 then call('ZREMRANGEBYRANK', RETURNS, '0', text(from_returns - 1)) end
    return taken
end

-- Gives turns; answers them as JSON, and the places that were passed over: an edge that still sees such a visitor says so.
local function give_turns()
    local due = turns_due()
    if due == 0 then return '', {} end
    -- The first of the returns must be in their set.
    set_back(due + MAX_SET_ASIDE)
    local count, passed_over = pass_over_silent(due)
    local taken = count > 0 and take_next(count) or {}
    if #taken == 0 then return '', passed_over end
    local deadline, given, shown = clock + rules.claim_window, {}, {}
    for i, visitor in ipairs(taken) do
        given[2 * i - 1] = text(deadline - room.shift)
        given[2 * i] = visitor
        shown[i] = format('["%s",%d]', visitor, deadline)
    end
    call('ZADD', TURNS, unpack(given))
    room.offer = take(room.offer, #taken, clock, room.rate)
    return table.concat(shown, ','), passed_over
end

-- The scores at the ranks of `room::ruler`, as JSON. One command for the nearest, and one for each beyond: hundreds of
-- rounds, which is why they call no function that they could do without. Redis writes whole numbers below 2^53 with all
-- their digits, so scores are passed on as they come.
local function ruler()
    local length = waiting()
    if length == 0 then return nil end
    local near = call('ZRANGE', LINE, text(behind), text(behind + NEAR_RANKS - 1), 'WITHSCORES')
    local scores, points, rank = {}, 0, 0
    local call, format, line, before = call, format, LINE, behind - 1
    while rank < length do
        rank = rank < EXACT_RANKS and rank + 1 or rank + (rank - rank % RANK_FRACTION) / RANK_FRACTION
        if rank > length then rank = length end
        local score = near[2 * rank]
        if not score then
            local at = format('%d', before + rank)
            score = call('ZRANGE', line, at, at, 'WITHSCORES')[2]
        end
        points = points + 1
        scores[points] = score
    end
    return format('{"waiting":%d,"scores":[', length) .. table.concat(scores, ',') .. ']}'
end

-- Once a second: the line, and the edges that are alive.
local function measure()
    if clock - room.measured < RULER_EVERY then return nil, '' end
    room.measured = clock
    return ruler(), quoted(nodes_alive())
end

bridge_gap()
forget_silent()
end_sessions()
local lapsed = lapse_turns()
forget()
set_back(MAX_SET_BACK)
local turns, absent = '', {}
if gives() then turns, absent = give_turns() end
local line, nodes = measure()
return answer(announce({
    turns = turns, lapsed = quoted(lapsed), absent = quoted(absent), ruler = line, nodes = nodes,
}))
