-- Operator control: `Queue::tune`.
--
-- ARGV 24-33: version that the room must be at, new_users_per_minute, total_active_users (each empty: any, or
--   stays), "pause" | "resume" | "" (stays), reason as JSON string or "", "message" or "" (stays), message as JSON
--   string or "", mode or "" (stays), the file's new_users_per_minute and total_active_users (empty: not offered).
-- Answers {"conflict", version} | {"control", JSON}. Appends to `audit` and publishes an event when it changed.
-- One script: two operators must not overwrite each other, and a new rate converts what the budgets have taken.
-- Refuses when memory is full (no allow-oom), like everything that is not needed to drain the room.

local AUDIT_KEPT = 1000

local ask = {
    version = tonumber(ARGV[24]), rate = tonumber(ARGV[25]), limit = tonumber(ARGV[26]),
    pause = ARGV[27], reason = ARGV[28], has_message = ARGV[29] ~= '', message = ARGV[30], mode = ARGV[31],
    file_rate = tonumber(ARGV[32]), file_limit = tonumber(ARGV[33]),
}

if ask.version and ask.version ~= room.version then return answer({ 'conflict', room.version }) end

local before, old_rate = control_json(), room.rate

-- `Control::apply`: a file value that changed wins, unless the operator sets another at the same time.
if ask.file_rate then
    if ask.file_rate ~= room.file_rate then room.rate = ask.file_rate end
    if ask.file_limit ~= room.file_limit then room.limit = ask.file_limit end
    room.file_rate, room.file_limit = ask.file_rate, ask.file_limit
end
-- Budgets divide by the rate; who wants nobody admitted pauses the room.
room.rate = max(1, ask.rate or room.rate)
room.limit = ask.limit or room.limit
if ask.mode ~= '' then room.mode = ask.mode end
if ask.has_message then room.message = ask.message end
if ask.pause == 'pause' then
    if room.since == 0 then room.since = clock end
    room.reason = ask.reason
elseif ask.pause == 'resume' then
    room.since, room.reason = 0, ''
end

local after = control_json()
if after == before then return answer({ 'control', after }) end

room.version = room.version + 1
if room.rate ~= old_rate then
    room.entry = retune(room.entry, clock, old_rate, room.rate)
    room.offer = retune(room.offer, clock, old_rate, room.rate)
end
after = control_json()
call('XADD', AUDIT, 'MAXLEN', '~', AUDIT_KEPT, '*', 'clock', text(clock), 'node', node, 'control', after)
announce({})
return answer({ 'control', after })
