-- Gives back places, turns and sessions: `Queue::leave`.
--
-- ARGV 24...: three for each: "absent" or "ended", visitor, ticket (empty: not known).
-- Answers nothing of its own. Publishes an event when sessions were ended before their time or visitors were taken
-- for absent: an edge that still sees them presents their tickets again.
-- One script: presence counts only from the node that still looks after the visitor, and every edge must hear of
-- an ended session in the order in which the numbers changed.

local LEAVE_GRACE = 1 * SECOND

local leaves, visitors = {}, {}
for i = ITEMS, #ARGV, 3 do
    leaves[#leaves + 1] = { kind = ARGV[i], visitor = ARGV[i + 1], ticket = ARGV[i + 2] ~= '' and ARGV[i + 2] or nil }
    visitors[#visitors + 1] = ARGV[i + 1]
end

local active, turns = view(ACTIVE, visitors), view(TURNS, visitors)
local line, returns = view_places(visitors)
-- Tickets are only added to these two, whatever they were before.
local spent, revoked = view(SPENT, {}), view(REVOKED, {})
local records = view_records(visitors)
local ended, given_up = {}, {}

local function give_up(visitor)
    local record = records.of[visitor]
    if not record or node_of(record) ~= node then return end
    if drop(line, visitor) or drop(returns, visitor) then
        room.abandoned = room.abandoned + 1
        put_record(records, visitor, nil)
        given_up[#given_up + 1] = '"' .. visitor .. '"'
    end
end

local function finish(visitor, ticket)
    local record = records.of[visitor]
    local tickets = {}
    if record then tickets[1] = ticket_of(record) end
    -- Whoever came with another ticket while the session went on holds a pass that names that one.
    if ticket and ticket ~= tickets[1] then tickets[#tickets + 1] = ticket end
    for _, spend in ipairs(tickets) do put(spent, spend, spent_until()) end
    if withdraw(turns, line, returns, visitor) then
        room.abandoned = room.abandoned + 1
        put_record(records, visitor, nil)
    end
    local ends, cap = session_of(active, records, visitor)
    if not ends then return end
    -- The slot is free once every edge has heard of it.
    put(active, visitor, clock + LEAVE_GRACE - SLOT_GRACE)
    for _, revoke in ipairs(tickets) do
        put(revoked, revoke, cap)
        ended[#ended + 1] = format('["%s",%d]', revoke, cap)
    end
end

for _, leave in ipairs(leaves) do
    if leave.kind == 'absent' then
        give_up(leave.visitor)
    else
        finish(leave.visitor, leave.ticket)
    end
end

flush(line)
flush(returns)
flush(turns)
flush(active)
flush(spent)
flush(revoked)
flush_records(records)
if #ended > 0 or #given_up > 0 then
    announce({ revoked = table.concat(ended, ','), absent = table.concat(given_up, ',') })
end
return answer('')
