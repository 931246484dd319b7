-- Extends sessions in use: `Queue::renew`.
--
-- ARGV 22...: five for each session: visitor, ticket, ends, cap, incarnation of the store that made the pass.
-- Answers for each, in order: {"session", ends, cap} | {"ended"}.
-- One script: a session that is revoked at the same instant on another edge must not be extended.

local renewals, visitors, tickets = {}, {}, {}
for i = ITEMS, #ARGV, 5 do
    local renewal = {
        visitor = ARGV[i], ticket = ARGV[i + 1], ends = tonumber(ARGV[i + 2]), cap = tonumber(ARGV[i + 3]),
        foreign = ARGV[i + 4] ~= room.incarnation,
    }
    renewals[#renewals + 1] = renewal
    visitors[#visitors + 1] = renewal.visitor
    tickets[#tickets + 1] = renewal.ticket
end

local active, turns = view(ACTIVE, visitors), view(TURNS, visitors)
local line, returns = view(LINE, visitors), view(RETURNS, visitors)
local revoked, spent = view(REVOKED, tickets), view(SPENT, {})
local records = view_records(visitors)

local function renew_one(renewal)
    local visitor, ticket = renewal.visitor, renewal.ticket
    if revoked.score[ticket] or renewal.ends <= clock then return { 'ended' } end
    local ends_by_now = session_of(active, records, visitor) or renewal.foreign and renewal.ends
    if not ends_by_now then return { 'ended' } end
    local ends = max(min(to_whole_second(clock + rules.session_duration), renewal.cap), ends_by_now)
    if renewal.foreign then
        put(spent, ticket, spent_until())
        withdraw(turns, line, returns, visitor)
    end
    put(active, visitor, ends)
    put_record(records, visitor, pack_record(node, ticket, renewal.cap))
    return { 'session', ends, renewal.cap }
end

local answers = {}
for i, renewal in ipairs(renewals) do answers[i] = renew_one(renewal) end

flush(active)
flush(turns)
flush(line)
flush(returns)
flush(spent)
flush_records(records)
return answer(answers)
