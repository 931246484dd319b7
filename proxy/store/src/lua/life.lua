-- The lives of a store: `Queue::hear` and what begins a life. One that lost data, all of it or the newest, begins
-- another life from what its callers know.

local SETTLE = 10 * SECOND
local SETTLE_BLANK = 2 * SECOND
local OUTAGE = 2.5 * SECOND
local REPORT_WITHIN = 2 * SECOND

-- ARGV 19-23: incarnation (empty: the caller knows nothing), seq, step, front, and what matters only to a store that
-- lost data, see `the_rest`.
local witness = ARGV[19] ~= '' and {
    incarnation = ARGV[19], seq = tonumber(ARGV[20]), step = tonumber(ARGV[21]), front = tonumber(ARGV[22]),
}

local function settling()
    return room.settling_until > room.clock
end

-- Opens a room, or begins another life of it. Made only when it is needed: what stands outside is paid for by every call.
local function lives()
    -- clock, taken, entry, offer, nodes (separated by commas), and control: version, rate, limit, since (0 in a room that
    -- goes on), reason of a pause and message (each a JSON string or empty), mode, and the file's rate and limit. A line
    -- each.
    local function the_rest()
        local lines = {}
        for line in string.gmatch(ARGV[23], '([^\n]*)\n') do lines[#lines + 1] = line end
        witness.clock, witness.taken = tonumber(lines[1]), tonumber(lines[2])
        witness.entry, witness.offer, witness.nodes = tonumber(lines[3]), tonumber(lines[4]), lines[5]
        witness.control = {
            version = tonumber(lines[6]), rate = tonumber(lines[7]), limit = tonumber(lines[8]),
            since = tonumber(lines[9]), reason = lines[10], message = lines[11], mode = lines[12],
            file_rate = tonumber(lines[13]), file_limit = tonumber(lines[14]),
        }
    end

    -- The edges that have to report before the room is settled.
    local function call_roll(names)
        local nodes, expected = {}, {}
        for name in string.gmatch(names, '[^,]+') do nodes[#nodes + 1] = name end
        local places = MAX_NODES - call('HLEN', ROLL)
        for i, known in ipairs(call('HMGET', ROLL, unpack(nodes))) do
            if not known and places > 0 then
                places = places - 1
                expected[#expected + 1] = nodes[i]
                expected[#expected + 1] = '0'
            end
        end
        if #expected > 0 then call('HSET', ROLL, unpack(expected)) end
    end

    -- Who stands in front of the front had a turn, or lost it, in what the store forgot. They are returns from now on,
    -- see `behind`.
    local function set_back()
        local first = call('ZRANGE', LINE, '0', '0', 'WITHSCORES')[2]
        if first and tonumber(first) <= room.front then room.passed = room.front end
    end

    -- Takes the maximum of what the room and the caller know.
    local function absorb()
        the_rest()
        for _, name in ipairs({ 'seq', 'step', 'clock', 'front' }) do room[name] = max(room[name], witness[name]) end
        if witness.control.version > room.version then
            for name, value in pairs(witness.control) do room[name] = value end
        end
        local nothing = empty(room.clock, room.rate)
        room.entry = max(room.entry, witness.entry, nothing)
        room.offer = max(room.offer, witness.offer, nothing)
        room.expected = max(room.expected, witness.taken)
        call_roll(witness.nodes == '' and node or witness.nodes .. ',' .. node)
        set_back()
    end

    -- Turns and sessions that are not over. Those that are may have made room, in what an older copy does not know, for
    -- others.
    local function still_good()
        return call('ZCOUNT', TURNS, '(' .. text(max(0, room.clock - room.shift)), '+inf')
            + call('ZCOUNT', ACTIVE, '(' .. text(room.clock), '+inf')
    end

    -- The clock, the front, the numbers and the operator's control go on from what the caller knows, the budgets start
    -- empty, and the room settles first. What another life has registered from passes is of a former one; whom it let in
    -- itself is not.
    local function begin_life()
        local is_copy = witness.incarnation == room.incarnation
        call('UNLINK', ROLL)
        room.incarnation, room.former, room.expected = fresh, witness.incarnation, 0
        absorb()
        if is_copy then room.found = still_good() end
        room.settling_until = room.clock + SETTLE
        -- A pass that was made before now is over then.
        room.expected_until = room.clock + max(rules.session_duration, rules.confirm_window) + SLOT_GRACE
    end

    -- A room that begins anew goes on from the clock that its caller was told, and no further than the caller lived: the
    -- server may be another, with another wall clock.
    local function first_clock(now)
        if not witness then return now end
        the_rest()
        return min(max(now, witness.clock), witness.clock + tonumber(ARGV[2]))
    end

    -- `Queue::open`: an empty room.
    local function open(now)
        call('UNLINK', NODES, LINE, RETURNS, TURNS, ACTIVE, SPENT, REVOKED, MISSED, MISSES, OWNER, TICKS, ROLL)
        found_rarely = read(RARELY, RARELY_NUMBERS)
        for i = 1, ALWAYS_NUMBERS do room[ALWAYS[i]] = 0 end
        for i = 1, RARELY_NUMBERS do room[RARELY[i]] = 0 end
        room.incarnation, room.former, room.mode, room.reason, room.message = fresh, '', 'open', '', ''
        local begins = first_clock(now)
        room.clock, room.seen, room.ticked = begins, now, begins
        room.settling_until = begins + (alone and 0 or SETTLE_BLANK)
        room.version = 1
        room.rate, room.file_rate = rules.rate, rules.rate
        room.limit, room.file_limit = rules.limit, rules.limit
    end

    return { open = open, absorb = absorb, begin = begin_life }
end

-- Whether the store knows less than it once told this caller. Others may have brought the step further since; the
-- number of the newest event shows it then, or the front, which moves for nobody while the store settles.
local function has_forgotten()
    local same = witness.incarnation == room.incarnation
    return witness.step > room.step
        or (same and (witness.seq > room.seq or witness.front > room.front))
        or (not same and room.former == '')
end

-- The callers of the first moments of a life add what they know of the life before.
local function compare()
    if settling() and room.former == witness.incarnation then
        lives().absorb()
    elseif has_forgotten() then
        lives().begin()
    end
end

local function server_time()
    local time = call('TIME')
    return tonumber(time[1]) * SECOND + tonumber(time[2])
end

-- Brings the clock forward. After an outage the slots of sessions that ended meanwhile are kept for a moment: edges
-- may have extended them.
local function move_clock(now)
    local from = room.clock
    local moved = min(max(0, now - room.seen), tonumber(ARGV[2]))
    room.clock, room.seen = from + moved, now
    if moved <= OUTAGE then return end
    -- A second outage before the reports of the first are in keeps what the first kept.
    if from >= room.hold_until then room.hold_from = from end
    room.hold_until = room.clock + REPORT_WITHIN
    -- Nobody could report while the store was away: settling takes as much longer.
    if room.settling_until > from then room.settling_until = room.settling_until + moved end
    -- Who speaks first knows nothing of this life: the store may be an older copy, and others have to say so.
    local is_known = witness and witness.incarnation == room.incarnation
    if not is_known and not alone then room.settling_until = max(room.settling_until, room.clock + SETTLE_BLANK) end
end

-- `Queue::hear`: opens the room if need be, brings its clock forward, finds out whether the store forgot what it told,
-- and notes that the node lives.
local function hear()
    local now = tonumber(ARGV[1]) or server_time()
    if not read_state() then lives().open(now) end
    move_clock(now)
    if witness then compare() end
    room.step = room.step + 1
    call('ZADD', NODES, text(room.clock), node)
end

hear()

local clock = room.clock

-- Slots of the former life that nobody has accounted for yet.
local function unknown()
    return clock < room.expected_until and max(0, room.expected - room.found) or 0
end

-- Places that are still kept in the line, but are behind what was its front when data was lost: returns, all of them,
-- and in front of everybody. Half a million cannot be moved at once; they are moved when somebody asks for them, and
-- by ticks.
local function count_behind()
    if room.passed == 0 then return 0 end
    local count = call('ZCOUNT', LINE, '-inf', text(room.passed))
    if count == 0 then room.passed = 0 end
    return count
end

local behind = count_behind()

local function gives()
    return not hold and room.since == 0 and room.mode == 'open' and not settling()
end

-- The edges that were heard lately, or are still waited for, by name: those that another life would wait for.
local function nodes_alive()
    local nodes, listed = call('ZRANGE', NODES, text(max(0, clock - SILENT_NODE)), '+inf', 'BYSCORE'), {}
    for _, name in ipairs(nodes) do listed[name] = true end
    local roll = settling() and call('HGETALL', ROLL) or {}
    for i = 1, #roll, 2 do
        if roll[i + 1] == '0' and not listed[roll[i]] then nodes[#nodes + 1] = roll[i] end
    end
    table.sort(nodes)
    for i = #nodes, MAX_NODES + 1, -1 do nodes[i] = nil end
    return nodes
end
