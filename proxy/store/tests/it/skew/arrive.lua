-- Presents tickets: `Queue::arrive`.
--
-- ARGV 22...: six for each ticket: visitor, ticket, score, confirmed_at, may enter (1 or 0), may wait (1 or 0).
-- Answers for each, in order: {"session", ends, cap} | {"let_in", ends, cap} | {"turn", deadline}
--   | {"waiting", score, returning (1 or 0), new (1 or 0)} | {"busy"} | {"full"} | {"spent"} | {"void"}.
-- One script: whether somebody may enter depends on who stands before, who is inside and what the budgets hold,
-- and two edges may present the same ticket at once.
-- Refuses when memory is full (no allow-oom): it is what fills it.

local EACH = 6

-- No tick comes while nobody waits.
end_sessions()
forget()

local visitors = {}
for i = ITEMS, #ARGV, EACH do visitors[#visitors + 1] = ARGV[i] end

local active, turns = view(ACTIVE, visitors), view(TURNS, visitors)
local line, returns = view(LINE, visitors), view(RETURNS, visitors)

-- Records matter of those who stand somewhere, spent tickets of those who do not.
local standing, tickets = {}, {}
for i, visitor in ipairs(visitors) do
    if active.score[visitor] or turns.score[visitor] or line.score[visitor] or returns.score[visitor] then
        standing[#standing + 1] = visitor
    end
    if not (turns.score[visitor] or line.score[visitor] or returns.score[visitor]) then
        tickets[#tickets + 1] = ARGV[ITEMS + EACH * (i - 1) + 1]
    end
end
local records, spent = view_records(standing), view(SPENT, tickets)

local function waiting(score, returning, new)
    return { 'waiting', score, returning and 1 or 0, new and 1 or 0 }
end

-- What the visitor already is, if anything.
local function stands(visitor)
    local ends, cap = session_of(active, records, visitor)
    if ends then return { 'session', ends, cap } end
    local deadline = turn_of(turns, visitor)
    if deadline then return { 'turn', deadline } end
    if line.score[visitor] then return waiting(line.score[visitor], false, false) end
    if returns.score[visitor] then return waiting(returns.score[visitor], true, false) end
    return nil
end

local function look_after(visitor)
    local record = records.of[visitor]
    if record and node_of(record) ~= node then
        put_record(records, visitor, node .. sub(record, 25))
    end
end

local function is_void(score, confirmed_at)
    return room.front > score + rules.return_window and clock > confirmed_at + rules.return_window
end

local function can_let_in()
    return gives() and line.size == 0 and returns.size == 0
        and turns.size + active.size < room.limit
        and tokens(room.entry, clock, room.rate) > 0
        and tokens(room.offer, clock, room.rate) > 0
end

local function let_in(visitor, ticket)
    room.entry = take(room.entry, 1, clock, room.rate)
    room.offer = take(room.offer, 1, clock, room.rate)
    room.admitted = room.admitted + 1
    room.entered = room.entered + 1
    put(spent, ticket, spent_until())
    local ends = to_whole_second(clock + min(rules.confirm_window, rules.session_duration))
    local cap = cap_from()
    put(active, visitor, ends)
    put_record(records, visitor, pack_record(node, ticket, cap))
    return { 'let_in', ends, cap }
end

local function arrive(visitor, ticket, score, confirmed_at, may_enter, may_wait)
    local known = stands(visitor)
    if known then
        look_after(visitor)
        return known
    end
    if spent.score[ticket] then return { 'spent' } end
    if is_void(score, confirmed_at) then return { 'void' } end
    if may_enter and can_let_in() then return let_in(visitor, ticket) end
    if not may_wait then return { 'busy' } end
    if line.size + returns.size >= rules.max_waiting then return { 'full' } end
    put_record(records, visitor, pack_record(node, ticket, 0))
    local returning = score <= room.front
    put(returning and returns or line, visitor, score)
    return waiting(score, returning, true)
end

local answers = {}
for i = ITEMS, #ARGV, EACH do
    answers[#answers + 1] = arrive(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]),
        ARGV[i + 4] == '1', ARGV[i + 5] == '1')
end

flush(active)
flush(line)
flush(returns)
flush(spent)
flush_records(records)
return answer(answers)
