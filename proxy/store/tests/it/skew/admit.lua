-- The tick: `Queue::admit`.
--
-- Answers the event as JSON; the same is kept in `ticks` and published.
-- One script: turns are given by the budgets and the slots of the whole fleet, each visitor to one edge's tick only.
-- Work is bounded: at most so many of each kind as the constants say; what is left is done by the next tick.

local MAX_TURNS = 2000
local MAX_SET_ASIDE = 200
local RETURNS_SHARE = 4
local SILENT_NODE = 10 * SECOND
local TICK_GAP = 2 * SECOND
local RULER_EVERY = 1 * SECOND
local EXACT_RANKS = 100
local RANK_FRACTION = 50

local function quoted(ids)
    return #ids > 0 and '"' .. table.concat(ids, '","') .. '"' or ''
end

-- Nobody could claim while no tick came: open turns are extended by the gap. And no edge was silent for as long as
-- none could speak.
local function bridge_gap()
    local gap = clock - room.ticked
    room.ticked = clock
    if gap <= TICK_GAP then return end
    local nodes, moved = call('ZRANGE', NODES, 0, -1, 'WITHSCORES'), {}
    for i = 1, #nodes, 2 do
        moved[i] = text(min(clock, tonumber(nodes[i + 1]) + gap))
        moved[i + 1] = nodes[i]
    end
    call('ZADD', NODES, unpack(moved))
    if call('ZCARD', TURNS) > 0 then room.shift = room.shift + gap end
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

-- The edges that were heard lately.
local function alive()
    local since = max(0, clock - SILENT_NODE)
    call('ZREMRANGEBYSCORE', NODES, '-inf', '(' .. text(since))
    local nodes = {}
    for _, name in ipairs(call('ZRANGE', NODES, 0, -1)) do nodes[name] = true end
    return nodes
end

-- Sets aside places at the front whose edge is silent, until `wanted` present ones are found. Says how many turns may
-- be given: when more are silent than one tick may set aside, only as many as are present in front of the rest.
local function pass_over_silent(wanted)
    local nodes, present, silent, from = alive(), 0, {}, 0
    while present < wanted and #silent < MAX_SET_ASIDE do
        local visitors = call('ZRANGE', LINE, from, from + wanted - present - 1)
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
    if #silent == 0 then return wanted end
    room.set_aside = room.set_aside + #silent
    call('ZREM', LINE, unpack(silent))
    call('HDEL', OWNER, unpack(silent))
    return #silent == MAX_SET_ASIDE and present or wanted
end

-- How many turns budgets and slots allow.
local function turns_due()
    local open, inside = call('ZCARD', TURNS), call('ZCARD', ACTIVE)
    local most_open = max(1, floor(room.rate / 60 * (rules.claim_window / SECOND)))
    return min(tokens(room.offer, clock, room.rate), max(0, room.limit - open - inside), max(0, most_open - open),
        MAX_TURNS)
end

-- The next visitors: the first of the line, but each fourth time the first of the returns.
local function take_next(count)
    local line = call('ZRANGE', LINE, 0, count - 1, 'WITHSCORES')
    local returns = call('ZRANGE', RETURNS, 0, count - 1)
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
    if from_line > 0 then call('ZREMRANGEBYRANK', LINE, 0, from_line - 1) end
    if from_returns > 0 then call('ZREMRANGEBYRANK', RETURNS, 0, from_returns - 1) end
    return taken
end

-- Gives turns; answers them as JSON.
local function give_turns()
    local count = pass_over_silent(turns_due())
    if count == 0 then return '' end
    local taken = take_next(count)
    if #taken == 0 then return '' end
    local deadline, given, shown = clock + rules.claim_window, {}, {}
    for i, visitor in ipairs(taken) do
        given[2 * i - 1] = text(deadline - room.shift)
        given[2 * i] = visitor
        shown[i] = format('["%s",%d]', visitor, deadline)
    end
    call('ZADD', TURNS, unpack(given))
    room.offer = take(room.offer, #taken, clock, room.rate)
    return table.concat(shown, ',')
end

local function next_rank(rank)
    return rank < EXACT_RANKS and rank + 1 or rank + floor(rank / RANK_FRACTION)
end

-- The scores at the ranks of `room::ruler`, once a second, as JSON.
local function measure()
    local waiting = call('ZCARD', LINE)
    if waiting == 0 or clock - room.measured < RULER_EVERY then return nil end
    room.measured = clock
    local scores = {}
    local exact = call('ZRANGE', LINE, 0, EXACT_RANKS - 1, 'WITHSCORES')
    for i = 2, #exact, 2 do scores[#scores + 1] = text(tonumber(exact[i])) end
    local rank = EXACT_RANKS
    while rank < waiting do
        rank = min(next_rank(rank), waiting)
        scores[#scores + 1] = text(tonumber(call('ZRANGE', LINE, rank - 1, rank - 1, 'WITHSCORES')[2]))
    end
    return format('{"waiting":%d,"scores":[', waiting) .. table.concat(scores, ',') .. ']}'
end

bridge_gap()
end_sessions()
local lapsed = lapse_turns()
forget()
local turns = gives() and give_turns() or ''
local event = announce({ turns = turns, lapsed = quoted(lapsed), ruler = measure() })
return answer(event)
