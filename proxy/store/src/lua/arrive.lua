-- Presents tickets: `Queue::arrive`.
--
-- ARGV 22...: six for each ticket: visitor, ticket, score, confirmed_at, may enter (1 or 0), may wait (1 or 0).
-- Answers for each, in order: {"session", ends, cap} | {"let_in", ends, cap} | {"turn", deadline}
--   | {"waiting", score, returning (1 or 0), new (1 or 0)} | {"busy"} | {"full"} | {"spent"} | {"void"}.
-- One script: whether somebody may enter depends on who stands before, who is inside and what the budgets hold,
-- and two edges may present the same ticket at once.
-- Refuses when memory is full (no allow-oom): it is what fills it.

-- No tick comes while nobody waits.
end_sessions()
forget()

local arrivals, visitors, tickets = {}, {}, {}
for i = ITEMS, #ARGV, 6 do
    local arrival = {
        visitor = ARGV[i], ticket = ARGV[i + 1], score = tonumber(ARGV[i + 2]), confirmed_at = tonumber(ARGV[i + 3]),
        may_enter = ARGV[i + 4] == '1', may_wait = ARGV[i + 5] == '1',
    }
    arrivals[#arrivals + 1] = arrival
    visitors[#visitors + 1] = arrival.visitor
    tickets[#tickets + 1] = arrival.ticket
end

local active, turns = view(ACTIVE, visitors), view(TURNS, visitors)
local line, returns = view(LINE, visitors), view(RETURNS, visitors)
local spent, records = view(SPENT, tickets), view_records(visitors)

local function waiting(score, returning, new)
    return { 'waiting', score, returning and 1 or 0, new and 1 or 0 }
end

-- What the visitor already is, if anything.
local function standing(visitor)
    local ends, cap = session_of(active, records, visitor)
    if ends then return { 'session', ends, cap } end
    local deadline = turn_of(turns, visitor)
    if deadline then return { 'turn', deadline } end
    if line.score[visitor] then return waiting(line.score[visitor], false, false) end
    if returns.score[visitor] then return waiting(returns.score[visitor], true, false) end
    return nil
end

local function looked_after_here(visitor)
    local record = records.of[visitor]
    if record and record.node ~= node then
        put_record(records, visitor, { node = node, ticket = record.ticket, cap = record.cap })
    end
end

local function is_void(arrival)
    return room.front > arrival.score + rules.return_window
        and clock > arrival.confirmed_at + rules.return_window
end

local function can_let_in()
    return gives() and line.size == 0 and returns.size == 0
        and turns.size + active.size < room.limit
        and tokens(room.entry, clock, room.rate) > 0
        and tokens(room.offer, clock, room.rate) > 0
end

local function let_in(arrival)
    room.entry = take(room.entry, 1, clock, room.rate)
    room.offer = take(room.offer, 1, clock, room.rate)
    room.admitted = room.admitted + 1
    room.entered = room.entered + 1
    put(spent, arrival.ticket, spent_until())
    local ends = to_whole_second(clock + min(rules.confirm_window, rules.session_duration))
    local cap = cap_from()
    put(active, arrival.visitor, ends)
    put_record(records, arrival.visitor, { node = node, ticket = arrival.ticket, cap = cap })
    return { 'let_in', ends, cap }
end

local function arrive_one(arrival)
    local visitor = arrival.visitor
    local stands = standing(visitor)
    if stands then
        looked_after_here(visitor)
        return stands
    end
    if spent.score[arrival.ticket] then return { 'spent' } end
    if is_void(arrival) then return { 'void' } end
    if arrival.may_enter and can_let_in() then return let_in(arrival) end
    if not arrival.may_wait then return { 'busy' } end
    if line.size + returns.size >= rules.max_waiting then return { 'full' } end
    put_record(records, visitor, { node = node, ticket = arrival.ticket, cap = 0 })
    local returning = arrival.score <= room.front
    put(returning and returns or line, visitor, arrival.score)
    return waiting(arrival.score, returning, true)
end

local answers = {}
for i, arrival in ipairs(arrivals) do answers[i] = arrive_one(arrival) end

flush(active)
flush(line)
flush(returns)
flush(spent)
flush_records(records)
return answer(answers)
