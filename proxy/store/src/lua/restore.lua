-- Takes in what an edge remembers: `Queue::restore`.
--
-- ARGV 24: the life to which this edge has now told everything, or empty.
-- ARGV 25...: five for each item: kind, visitor, ticket, and two numbers, empty where the kind has none:
--   "session", its end and cap | "turn" | "spent" | "revoked" (no visitor), until when its pass could be shown.
-- Answers nothing of its own.
-- One script: the room is settled in the same step in which the last edge of the former life has told all.

local EACH = 5
local complete = ARGV[ITEMS]

local visitors, tickets = {}, {}
for i = ITEMS + 1, #ARGV, EACH do
    visitors[#visitors + 1] = ARGV[i + 1]
    tickets[#tickets + 1] = ARGV[i + 2]
end
local known = view_all(visitors, tickets)

local restore = {}

function restore.session(visitor, ticket, ends, cap)
    if is_over(known, ticket, ends) then return end
    local ends_by_now = session_of(known.active, known.records, visitor) or ends
    register(known, visitor, ticket, max(ends, ends_by_now), cap)
end

-- A turn once told is kept, with a whole `claim_window`: but only by a store that is settling, and knows nothing newer
-- of the visitor.
function restore.turn(visitor, ticket)
    local is_old = not settling() or known.spent.score[ticket] or known.active.score[visitor]
        or known.turns.score[visitor]
    if is_old then return end
    withdraw(known.turns, known.line, known.returns, visitor)
    put(known.turns, visitor, clock + rules.claim_window - room.shift)
    put_record(known.records, visitor, pack_record(node, ticket, 0))
    room.found = room.found + 1
end

-- The place that this ticket still has is one that the store forgot to take.
function restore.spent(visitor, ticket)
    put(known.spent, ticket, spent_until())
    local record, had_turn = known.records.of[visitor], known.turns.score[visitor]
    if not record or ticket_of(record) ~= ticket then return end
    if not withdraw(known.turns, known.line, known.returns, visitor) then return end
    if had_turn then room.found = max(0, room.found - 1) end
    if not known.active.score[visitor] then put_record(known.records, visitor, nil) end
end

function restore.revoked(_, ticket, until_when)
    put(known.revoked, ticket, until_when)
end

for i = ITEMS + 1, #ARGV, EACH do
    restore[ARGV[i]](ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]))
end
flush_all(known)

-- The room is settled when every edge of the former life has told all.
local function all_reported()
    for _, reported in ipairs(call('HVALS', ROLL)) do
        if reported ~= '1' then return false end
    end
    return true
end

if complete == room.incarnation and call('HEXISTS', ROLL, node) == 1 then
    call('HSET', ROLL, node, '1')
    -- After an outage the reports may be those of a copy, which somebody has still to find out.
    if all_reported() then room.settling_until = min(room.settling_until, max(clock, room.hold_until)) end
end
return answer('')
