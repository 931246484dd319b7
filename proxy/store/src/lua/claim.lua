-- Turns into sessions: `Queue::claim`.
--
-- ARGV 24...: two for each claim: visitor, ticket.
-- Answers for each, in order: {"session", ends, cap} | {"not_yet", retry_at} | {"gone"}.
-- One script: the entry budget is the hard limit of the whole fleet, and a turn becomes one session only.

local CLAIM_GRACE = 5 * SECOND
local ASK_AGAIN = 1 * SECOND

local claims, visitors = {}, {}
for i = ITEMS, #ARGV, 2 do
    claims[#claims + 1] = { visitor = ARGV[i], ticket = ARGV[i + 1] }
    visitors[#visitors + 1] = ARGV[i]
end

local active, turns = view(ACTIVE, visitors), view(TURNS, visitors)
local line, returns = view_places(visitors)
local spent, records = view(SPENT, {}), view_records(visitors)

local function begin_session(claim)
    room.entry = take(room.entry, 1, clock, room.rate)
    room.entered = room.entered + 1
    drop(turns, claim.visitor)
    -- The ticket that stood in the line bought the session, even if the visitor shows another.
    local record = records.of[claim.visitor]
    if record then put(spent, ticket_of(record), spent_until()) end
    put(spent, claim.ticket, spent_until())
    local cap = cap_from()
    local ends = min(to_whole_second(clock + rules.session_duration), cap)
    put(active, claim.visitor, ends)
    put_record(records, claim.visitor, pack_record(node, claim.ticket, cap))
    return { 'session', ends, cap }
end

-- When to ask again, if nobody can enter by a turn right now: no entry is free, or the store settles, and an edge has
-- still to tell that this very turn has bought its session already.
local function entry_waits_until()
    if settling() then return clock + ASK_AGAIN end
    if tokens(room.entry, clock, room.rate) == 0 then return next_at(room.entry, clock, room.rate) end
end

local function claim_one(claim)
    local visitor = claim.visitor
    local ends, cap = session_of(active, records, visitor)
    if ends then return { 'session', ends, cap } end
    local deadline = turn_of(turns, visitor)
    if not deadline then
        local waits = line.score[visitor] or returns.score[visitor]
        return waits and { 'not_yet', clock + ASK_AGAIN } or { 'gone' }
    end
    local retry_at = entry_waits_until()
    if retry_at then
        put(turns, visitor, max(deadline, retry_at + CLAIM_GRACE) - room.shift)
        return { 'not_yet', retry_at }
    end
    return begin_session(claim)
end

local answers = {}
for i, claim in ipairs(claims) do answers[i] = claim_one(claim) end

flush(line)
flush(returns)
flush(turns)
flush(active)
flush(spent)
flush_records(records)
return answer(answers)
