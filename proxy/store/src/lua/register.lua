-- Sessions that are known from their passes: for renewals and reports.

-- Whatever the room knows of these visitors and tickets. Who has a session stands nowhere else, and is not looked for.
local function view_all(visitors, tickets)
    local active, records = view(ACTIVE, visitors), view_records(visitors)
    local others, unused = {}, {}
    for i, visitor in ipairs(visitors) do
        if not session_of(active, records, visitor) then
            others[#others + 1], unused[#unused + 1] = visitor, tickets[i]
        end
    end
    local line, returns = view_places(others)
    return {
        active = active, turns = view(TURNS, others), line = line, returns = returns,
        spent = view(SPENT, unused), revoked = view(REVOKED, tickets),
        records = records,
    }
end

local function flush_all(known)
    flush(known.active)
    flush(known.turns)
    flush(known.line)
    flush(known.returns)
    flush(known.spent)
    flush(known.revoked)
    flush_records(known.records)
end

-- Nothing is left of this session to be extended or registered.
local function is_over(known, ticket, ends)
    return known.revoked.score[ticket] or ends <= clock
end

-- Notes a session. One that was not known takes its slot, its ticket is spent, and its visitor waits no longer.
local function register(known, visitor, ticket, ends, cap)
    if not session_of(known.active, known.records, visitor) then
        if not known.turns.score[visitor] and not known.active.score[visitor] then room.found = room.found + 1 end
        put(known.spent, ticket, spent_until())
        withdraw(known.turns, known.line, known.returns, visitor)
    end
    put(known.active, visitor, ends)
    put_record(known.records, visitor, pack_record(node, ticket, cap))
end
