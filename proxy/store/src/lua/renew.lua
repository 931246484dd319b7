-- Extends sessions in use: `Queue::renew`.
--
-- ARGV 24...: four for each session: visitor, ticket, ends, cap, as the pass has them.
-- Answers for each, in order: {"session", ends, cap} | {"ended"}.
-- One script: a session that is revoked at the same instant on another edge must not be extended.

local EACH = 4

local visitors, tickets = {}, {}
for i = ITEMS, #ARGV, EACH do
    visitors[#visitors + 1] = ARGV[i]
    tickets[#tickets + 1] = ARGV[i + 1]
end
local known = view_all(visitors, tickets)

local function renew(visitor, ticket, ends, cap)
    if is_over(known, ticket, ends) then return { 'ended' } end
    local ends_by_now = session_of(known.active, known.records, visitor) or ends
    local extended = max(min(to_whole_second(clock + rules.session_duration), cap), ends_by_now)
    register(known, visitor, ticket, extended, cap)
    return { 'session', extended, cap }
end

local answers = {}
for i = ITEMS, #ARGV, EACH do
    answers[#answers + 1] = renew(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
end

flush_all(known)
return answer(answers)
