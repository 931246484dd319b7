-- Presents tickets: `Queue::arrive`.
--
-- ARGV 24: 1 if they are of as many visitors, all of whom may wait; else 0.
-- ARGV 25: the tickets, WIDTH characters each: visitor (24), ticket (24), here (1 or 0), score and confirmed_at (16
--   digits each), may enter, may wait (1 or 0 each).
-- Answers {letters, numbers}. A letter for each ticket, in order, and after it its numbers, if it has some:
--   s session: ends, cap | e let in: ends, cap | t turn: deadline | n in the line, new, and r a return, new, both at the
--   ticket's own score | w in the line: score | k a return: score | b busy | f full | x spent | v void.
-- One script: whether somebody may enter depends on who stands before, who is inside and what the budgets hold,
-- and two edges may present the same ticket at once.
-- Refuses when memory is full (no allow-oom): it is what fills it.

local WIDTH = 83
local IS_PLAIN = ARGV[ITEMS] == '1'
local ITEM = ARGV[ITEMS + 1]

-- An edge that was not heard for this long may hear nothing either.
local MUTE_NODE = 5 * SECOND

-- No tick comes while nobody waits.
end_sessions()
forget()

local count = #ITEM / WIDTH
local visitors, tickets = {}, {}
for i = 1, count do
    local at = WIDTH * (i - 1)
    visitors[i], tickets[i] = sub(ITEM, at + 1, at + 24), sub(ITEM, at + 25, at + 48)
end

local function score_of(i)
    return sub(ITEM, WIDTH * i - 33, WIDTH * i - 18)
end

-- Who stands anywhere has a record.
local letters, numbers = {}, {}
local known = count > 0 and call('HMGET', OWNER, unpack(visitors)) or {}
local used = count > 0 and call('ZMSCORE', SPENT, unpack(tickets)) or {}

-- Whether the next may enter at once, when nobody is ahead.
local function could_let_in(inside)
    return gives() and inside + unknown() < room.limit
        and tokens(room.entry, clock, room.rate) > 0
        and tokens(room.offer, clock, room.rate) > 0
end

-- Strangers who come while others wait take the places behind them, all at once: this is the path of a crowd. Answers
-- those that need a closer look.
local function line_up()
    local ahead = call('ZCARD', LINE) + call('ZCARD', RETURNS)
    local others, last, places, records = {}, 0, {}, {}
    local is_open = not IS_PLAIN or ahead + count > rules.max_waiting
        or ahead == 0 and could_let_in(call('ZCARD', TURNS) + call('ZCARD', ACTIVE))
    local front, mine = format('%016d', room.front), node .. ':'
    for i = 1, count do
        local score = score_of(i)
        if is_open or known[i] or used[i] or score <= front then
            others[#others + 1] = i
        else
            local visitor = visitors[i]
            last = last + 2
            places[last - 1], places[last] = score, visitor
            records[last - 1], records[last] = visitor, mine .. tickets[i] .. ':0'
            letters[i] = 'n'
        end
    end
    if last > 0 then
        call('ZADD', LINE, unpack(places))
        call('HSET', OWNER, unpack(records))
    end
    return others
end

-- One after the other.
local function look_at(others)
    local people = {}
    for i, other in ipairs(others) do people[i] = visitors[other] end
    local line, returns = view_places(people)
    -- Who waits has no session, no turn, and a ticket that is not spent.
    local elsewhere, unused = {}, {}
    for i, visitor in ipairs(people) do
        if not line.score[visitor] then
            elsewhere[#elsewhere + 1] = visitor
            unused[#unused + 1] = tickets[others[i]]
        end
    end
    local active, turns = view(ACTIVE, elsewhere), view(TURNS, elsewhere)
    local spent, records = view(SPENT, unused), { of = {}, changed = {} }
    for _, other in ipairs(others) do records.of[visitors[other]] = known[other] or nil end

    -- What the visitor already is, if anything.
    local function stands(visitor)
        local ends, cap = session_of(active, records, visitor)
        if ends then return 's', ends, cap end
        local deadline = turn_of(turns, visitor)
        if deadline then return 't', deadline end
        if line.score[visitor] then return 'w', line.score[visitor] end
        if returns.score[visitor] then return 'k', returns.score[visitor] end
        return nil
    end

    local mute = {}
    local function is_mute(other)
        if mute[other] == nil then
            local heard = tonumber(call('ZSCORE', NODES, other))
            mute[other] = not heard or room.ticked - heard > MUTE_NODE
        end
        return mute[other]
    end

    -- The caller looks after the visitor from now on; one that only remembers them does so where no other edge is left
    -- to. At an edge that fell silent the visitor could neither hear of a turn nor claim it: at the next one there is a
    -- whole `claim_window` for it.
    local function look_after(visitor, here, letter, one)
        local record = records.of[visitor]
        if not record or node_of(record) == node then return one end
        local silent = is_mute(node_of(record))
        if not silent and not here then return one end
        put_record(records, visitor, node .. sub(record, 25))
        if letter ~= 't' or not silent then return one end
        local deadline = max(one, clock + rules.claim_window)
        put(turns, visitor, deadline - room.shift)
        return deadline
    end

    local function is_void(score, confirmed_at)
        return room.front > score + rules.return_window and clock > confirmed_at + rules.return_window
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
        return 'e', ends, cap
    end

    local function arrive(visitor, ticket, here, score, confirmed_at, may_enter, may_wait)
        local letter, one, two = stands(visitor)
        if letter then return letter, look_after(visitor, here, letter, one), two end
        if spent.score[ticket] then return 'x' end
        if is_void(score, confirmed_at) then return 'v' end
        local ahead = line.size + returns.size
        if may_enter and ahead == 0 and could_let_in(turns.size + active.size) then return let_in(visitor, ticket) end
        if not may_wait then return 'b' end
        if ahead >= rules.max_waiting then return 'f' end
        put_record(records, visitor, pack_record(node, ticket, 0))
        local is_return = score <= room.front
        put(is_return and returns or line, visitor, score)
        return is_return and 'r' or 'n'
    end

    for _, i in ipairs(others) do
        local last = WIDTH * i
        local letter, one, two = arrive(visitors[i], tickets[i], sub(ITEM, last - 34, last - 34) == '1',
            tonumber(score_of(i)), tonumber(sub(ITEM, last - 17, last - 2)), sub(ITEM, last - 1, last - 1) == '1',
            sub(ITEM, last, last) == '1')
        letters[i] = letter
        numbers[#numbers + 1] = one
        numbers[#numbers + 1] = two
    end
    flush(active)
    flush(turns)
    flush(line)
    flush(returns)
    flush(spent)
    flush_records(records)
end

local others = line_up()
if #others > 0 then look_at(others) end
return answer({ table.concat(letters), numbers })
