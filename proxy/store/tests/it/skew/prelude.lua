-- What every script of a room starts with: the room as this call found it, its clock brought forward, and the
-- budgets. Follows `room::queue` and `room::budget` step by step; where the two differ, one of them is wrong.
--
-- KEYS, all with the room's hash tag, so that a room is one slot of a cluster:
--    1 state    hash     numbers and operator control, see NUMBERS and TEXTS
--    2 nodes    zset     node -> when it was last heard
--    3 queue    zset     visitor -> score: the line
--    4 returns  zset     visitor -> score
--    5 turns    zset     visitor -> deadline less `shift`
--    6 active   zset     visitor -> end of the session
--    7 spent    zset     ticket -> until when it matters
--    8 revoked  zset     ticket -> until when it matters
--    9 missed   zset     ticket -> until when its lapsed turns count
--   10 misses   hash     ticket -> lapsed turns
--   11 owner    hash     visitor -> node:ticket:cap
--   12 ticks    stream   events, id `<seq>-0`
--   13 audit    stream   changes of control
--   14 tick     channel  events
-- ARGV:
--    1 the instant; empty: the server's clock    2 how far the clock may move
--    3 node    4 name of a new life    5 hold: 1 or 0
--    6-9 witness: incarnation (empty: none), seq, clock, front
--   10 new_users_per_minute   11 total_active_users   12 burst (empty: by the rate)   13 max_waiting
--   14 session_duration   15 session_max   16 renewal: 1 or 0   17 confirm_window   18 claim_window
--   19 return_window   20 missed_turns   21 PUBLISH or SPUBLISH
--   22... the items of the method
--
-- Instants and spans are whole microseconds below 2^53, which doubles hold exactly. They are written with `%d` only,
-- which is exact on the 64-bit servers that are asked for (and four times as fast as `%.0f`): `..`, tostring and cjson
-- round them.

local STATE, NODES, LINE, RETURNS, TURNS, ACTIVE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local SPENT, REVOKED, MISSED, MISSES, OWNER = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local TICKS, AUDIT, CHANNEL = KEYS[12], KEYS[13], KEYS[14]

local SECOND = 1000000
local MINUTE = 60 * SECOND
local SETTLE = 3 * SECOND
local SLOT_GRACE = 2 * SECOND
local TICKET_LIFE = 24 * 60 * MINUTE
local EVENTS_KEPT = 1200
local ITEMS = 22

local call = redis.call
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local format, sub = string.format, string.sub

local node, hold, publish = ARGV[3], ARGV[5] == '1', ARGV[21]
local rules = {
    rate = tonumber(ARGV[10]),
    limit = tonumber(ARGV[11]),
    burst = tonumber(ARGV[12]),
    max_waiting = tonumber(ARGV[13]),
    session_duration = tonumber(ARGV[14]),
    session_max = tonumber(ARGV[15]),
    renewal = ARGV[16] == '1',
    confirm_window = tonumber(ARGV[17]),
    claim_window = tonumber(ARGV[18]),
    return_window = tonumber(ARGV[19]),
    missed_turns = tonumber(ARGV[20]),
}

local function text(number)
    return format('%d', number)
end

-- Budgets (GCRA): a bucket is the instant at which it would be full again.

local function cost(count, rate)
    return ceil(count * MINUTE / rate)
end

local function burst_at(rate)
    return max(rules.burst or ceil(rate / 60), 1 + ceil(rate / 600))
end

local function tokens(tat, now, rate)
    local left = now + cost(burst_at(rate), rate) - max(tat, now)
    return left > 0 and floor(left * rate / MINUTE) or 0
end

local function take(tat, count, now, rate)
    return count > 0 and max(tat, now) + cost(count, rate) or tat
end

local function give_back(tat, count, rate)
    return max(0, tat - floor(count * MINUTE / rate))
end

local function next_at(tat, now, rate)
    return max(now, tat + cost(1, rate) - cost(burst_at(rate), rate))
end

local function retune(tat, now, old, new)
    local missing = max(0, tat - now) * old
    return missing > 0 and now + ceil(missing / new) or tat
end

-- The state.

local NUMBERS = {
    'seq', 'clock', 'seen', 'ticked', 'measured', 'front', 'settling_until', 'shift', 'entry', 'offer',
    'version', 'rate', 'limit', 'since', 'file_rate', 'file_limit',
    'admitted', 'entered', 'abandoned', 'lapsed', 'ended', 'set_aside',
}
-- `reason` and `message` are JSON strings, or empty.
local TEXTS = { 'incarnation', 'mode', 'reason', 'message' }
local FIELDS = {}
for _, name in ipairs(NUMBERS) do FIELDS[#FIELDS + 1] = name end
for _, name in ipairs(TEXTS) do FIELDS[#FIELDS + 1] = name end

-- As this call leaves it, and as it found it.
local room, found = {}, {}

-- Writes what has changed.
local function save()
    local changes = {}
    for i, name in ipairs(FIELDS) do
        local value = room[name]
        if value ~= found[name] then
            changes[#changes + 1] = name
            changes[#changes + 1] = i <= #NUMBERS and text(value) or value
        end
    end
    if #changes > 0 then call('HSET', STATE, unpack(changes)) end
end

local witness = ARGV[6] ~= '' and {
    incarnation = ARGV[6], seq = tonumber(ARGV[7]), clock = tonumber(ARGV[8]), front = tonumber(ARGV[9]),
}

-- A new life of the store: the caller's knowledge goes on, the budgets start empty, and the room settles first.
local function begin_life()
    room.incarnation = ARGV[4]
    room.seq = max(room.seq, witness.seq)
    room.clock = max(room.clock, witness.clock)
    room.front = max(room.front, witness.front)
    room.ticked = room.clock
    room.settling_until = room.clock + SETTLE
    room.entry = room.clock + cost(burst_at(room.rate), room.rate)
    room.offer = room.entry
end

-- `Queue::open`: an empty room.
local function open(now)
    call('UNLINK', NODES, LINE, RETURNS, TURNS, ACTIVE, SPENT, REVOKED, MISSED, MISSES, OWNER, TICKS)
    for _, name in ipairs(NUMBERS) do room[name] = 0 end
    room.incarnation, room.mode, room.reason, room.message = ARGV[4], 'open', '', ''
    room.clock, room.seen, room.ticked = now, now, now
    room.version = 1
    room.rate, room.file_rate = rules.rate, rules.rate
    room.limit, room.file_limit = rules.limit, rules.limit
    if witness then begin_life() end
end

-- Reads the state; says whether there was one. A field of a later version of this file starts as nothing.
local function read()
    for i, value in ipairs(call('HMGET', STATE, unpack(FIELDS))) do
        local name = FIELDS[i]
        found[name] = value and (i <= #NUMBERS and tonumber(value) or value)
        room[name] = found[name] or (i <= #NUMBERS and 0 or '')
    end
    return room.incarnation ~= ''
end

local function server_time()
    local time = call('TIME')
    return tonumber(time[1]) * SECOND + tonumber(time[2])
end

-- `Queue::hear`: opens the room if need be, brings its clock forward and notes that the node lives.
local function hear()
    local now = tonumber(ARGV[1]) or server_time()
    if not read() then
        open(now)
    elseif witness and witness.incarnation == room.incarnation and witness.seq > room.seq then
        -- The store forgot what it had told this caller: an older copy took over.
        begin_life()
    end
    room.clock = room.clock + min(max(0, now - room.seen), tonumber(ARGV[2]))
    room.seen = now
    call('ZADD', NODES, text(room.clock), node)
end

hear()

local clock = room.clock

local function settling()
    return room.settling_until > clock
end

local function gives()
    return not hold and room.since == 0 and room.mode == 'open' and not settling()
end

local function to_whole_second(instant)
    return ceil(instant / SECOND) * SECOND
end

local function cap_from()
    return to_whole_second(clock + (rules.renewal and rules.session_max or rules.session_duration))
end

-- Views: sorted sets and records as a batch sees them. Reads come at once for all its members, so do the writes.

local function view(key, members)
    local set = { key = key, score = {}, changed = {}, size = call('ZCARD', key) }
    if set.size > 0 and #members > 0 then
        for i, score in ipairs(call('ZMSCORE', key, unpack(members))) do
            set.score[members[i]] = tonumber(score)
        end
    end
    return set
end

local function put(set, member, score)
    if not set.score[member] then set.size = set.size + 1 end
    set.score[member] = score
    set.changed[member] = true
end

-- Says whether the member was there.
local function drop(set, member)
    if not set.score[member] then return false end
    set.size = set.size - 1
    set.score[member] = nil
    set.changed[member] = true
    return true
end

local function flush(set)
    local added, removed = {}, {}
    for member in pairs(set.changed) do
        local score = set.score[member]
        if score then
            added[#added + 1] = text(score)
            added[#added + 1] = member
        else
            removed[#removed + 1] = member
        end
    end
    if #added > 0 then call('ZADD', set.key, unpack(added)) end
    if #removed > 0 then call('ZREM', set.key, unpack(removed)) end
end

-- Records are `node:ticket:cap`; ids are 24 characters each.

local function pack_record(of_node, ticket, cap)
    return of_node .. ':' .. ticket .. ':' .. text(cap)
end

local function node_of(record)
    return sub(record, 1, 24)
end

local function ticket_of(record)
    return sub(record, 26, 49)
end

local function cap_of(record)
    return tonumber(sub(record, 51))
end

local function view_records(visitors)
    local records = { of = {}, changed = {} }
    if #visitors > 0 then
        for i, record in ipairs(call('HMGET', OWNER, unpack(visitors))) do
            records.of[visitors[i]] = record or nil
        end
    end
    return records
end

local function put_record(records, visitor, record)
    records.of[visitor] = record
    records.changed[visitor] = true
end

local function flush_records(records)
    local set, removed = {}, {}
    for visitor in pairs(records.changed) do
        local record = records.of[visitor]
        if record then
            set[#set + 1] = visitor
            set[#set + 1] = record
        else
            removed[#removed + 1] = visitor
        end
    end
    if #set > 0 then call('HSET', OWNER, unpack(set)) end
    if #removed > 0 then call('HDEL', OWNER, unpack(removed)) end
end

-- End and cap of a session whose pass is still good.
local function session_of(active, records, visitor)
    local ends = active.score[visitor]
    if not ends or ends <= clock then return nil end
    local record = records.of[visitor]
    return ends, record and cap_of(record) or ends
end

-- The deadline of an open turn: one that no tick has ended yet.
local function turn_of(turns, visitor)
    local score = turns.score[visitor]
    return score and score + room.shift or nil
end

-- Takes the visitor out of the turns, the line or the returns; a turn given back can be given again.
local function withdraw(turns, line, returns, visitor)
    if drop(turns, visitor) then
        room.offer = give_back(room.offer, 1, room.rate)
        return true
    end
    return drop(line, visitor) or drop(returns, visitor)
end

-- A ticket that is spent now could be shown until then.
local function spent_until()
    return clock + TICKET_LIFE
end

-- JSON as `room::queue` reads it.

local function head_json()
    return format('"incarnation":"%s","seq":%d,"clock":%d,"front":%d',
        room.incarnation, room.seq, clock, room.front)
end

local function counts_json()
    return format('"waiting":%d,"returning":%d,"turns":%d,"active":%d,"admitted":%d,'
        .. '"entered":%d,"abandoned":%d,"lapsed":%d,"ended":%d,"set_aside":%d',
        call('ZCARD', LINE), call('ZCARD', RETURNS), call('ZCARD', TURNS), call('ZCARD', ACTIVE),
        room.admitted, room.entered, room.abandoned, room.lapsed, room.ended, room.set_aside)
end

local function control_json()
    local paused = 'null'
    if room.since > 0 then
        paused = format('{"since":%d,"reason":', room.since)
            .. (room.reason == '' and 'null' or room.reason) .. '}'
    end
    return format('{"version":%d,"new_users_per_minute":%d,"total_active_users":%d,"paused":',
            room.version, room.rate, room.limit)
        .. paused .. ',"message":' .. (room.message == '' and 'null' or room.message)
        .. format(',"mode":"%s","file":{"new_users_per_minute":%d,"total_active_users":%d}}',
            room.mode, room.file_rate, room.file_limit)
end

local function settling_json()
    return settling() and text(room.settling_until) or 'null'
end

-- Numbers, keeps and publishes an event. The views are flushed before: it counts what Redis holds.
local function announce(lists)
    room.seq = room.seq + 1
    local event = '{' .. head_json() .. ',"counts":{' .. counts_json() .. '},"control":' .. control_json()
        .. ',"turns":[' .. (lists.turns or '') .. '],"lapsed":[' .. (lists.lapsed or '')
        .. '],"revoked":[' .. (lists.revoked or '') .. '],"absent":[' .. (lists.absent or '')
        .. '],"ruler":' .. (lists.ruler or 'null')
        .. ',"settling_until":' .. settling_json() .. '}'
    call('XADD', TICKS, 'MAXLEN', EVENTS_KEPT, text(room.seq) .. '-0', 'event', event)
    call(publish, CHANNEL, event)
    return event
end

-- Saves, and answers: incarnation, seq, clock, front, length of the line, value.
local function answer(value)
    save()
    return { room.incarnation, room.seq, clock, room.front, call('ZCARD', LINE), value }
end
