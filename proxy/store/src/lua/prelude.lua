-- What every script of a room starts with: its keys, what the call brings, and the room as this call found it.
-- `life.lua`, `people.lua` and `answer.lua` follow, then the method. All of it follows `room::queue` and `room::budget`
-- step by step; where the two differ, one of them is wrong.
--
-- KEYS, all with the room's hash tag, so that a room is one slot of a cluster:
--    1 state    hash     numbers and operator control, see ALWAYS and RARELY
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
--   15 roll     hash     node of the former life -> 1 when it has reported, else 0
-- ARGV:
--    1 the instant; empty: the server's clock    2 how far the clock may move
--    3 node    4 name of a new life    5 hold: 1 or 0    6 alone: 1 or 0    7 PUBLISH or SPUBLISH
--    8 new_users_per_minute   9 total_active_users   10 burst (empty: by the rate)   11 max_waiting
--   12 session_duration   13 session_max   14 renewal: 1 or 0   15 confirm_window   16 claim_window
--   17 return_window   18 missed_turns
--   19-23 what the caller knows, see `witness` in `life.lua`
--   24... the items of the method
--
-- Instants and spans are whole microseconds below 2^53, which doubles hold exactly. They are written with `%d` only,
-- which is exact on the 64-bit servers that are asked for (and four times as fast as `%.0f`): `..`, tostring and cjson
-- round them. Commands are given text too: Redis prints a number among their arguments with `%.17g`, which takes half as
-- long as a command.

local STATE, NODES, LINE, RETURNS, TURNS, ACTIVE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local SPENT, REVOKED, MISSED, MISSES, OWNER = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local TICKS, AUDIT, CHANNEL, ROLL = KEYS[12], KEYS[13], KEYS[14], KEYS[15]

local SECOND = 1000000
local MINUTE = 60 * SECOND
local SLOT_GRACE = 2 * SECOND
local SILENT_NODE = 10 * SECOND
local TICKET_LIFE = 24 * 60 * MINUTE
local MAX_NODES = 256
local EVENTS_KEPT = '1200'
local ITEMS = 24

local call = redis.call
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local format, sub = string.format, string.sub

local node, fresh, hold, alone, publish = ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6] == '1', ARGV[7]
local rules = {
    rate = tonumber(ARGV[8]),
    limit = tonumber(ARGV[9]),
    burst = tonumber(ARGV[10]),
    max_waiting = tonumber(ARGV[11]),
    session_duration = tonumber(ARGV[12]),
    session_max = tonumber(ARGV[13]),
    renewal = ARGV[14] == '1',
    confirm_window = tonumber(ARGV[15]),
    claim_window = tonumber(ARGV[16]),
    return_window = tonumber(ARGV[17]),
    missed_turns = tonumber(ARGV[18]),
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

-- A bucket that is empty.
local function empty(now, rate)
    return now + cost(burst_at(rate), rate)
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

-- The state: what every call needs, then the rest, which is read when somebody asks for it. Of both the numbers come
-- first. `former` is the life before, or empty; `reason` and `message` are JSON strings, or empty.

local ALWAYS = {
    'seq', 'step', 'clock', 'seen', 'front', 'passed', 'shift', 'entry', 'offer', 'settling_until', 'expected', 'found',
    'expected_until', 'hold_from', 'hold_until', 'rate', 'limit', 'since', 'incarnation', 'former', 'mode',
}
local ALWAYS_NUMBERS = 18
local RARELY = {
    'ticked', 'measured', 'version', 'file_rate', 'file_limit', 'admitted', 'entered', 'abandoned', 'lapsed', 'ended',
    'set_aside', 'reason', 'message',
}
local RARELY_NUMBERS = 11

-- As this call leaves it, and as it found it: of each part a list in the order of its names.
local room = {}
local found_always, found_rarely

-- A field that another version of this file did not write starts as nothing.
local function read(names, numbers)
    local values = call('HMGET', STATE, unpack(names))
    for i, name in ipairs(names) do
        if i <= numbers then
            values[i] = tonumber(values[i])
            room[name] = values[i] or 0
        else
            room[name] = values[i] or ''
        end
    end
    return values
end

-- Reads the state; says whether there was one.
local function read_state()
    found_always = read(ALWAYS, ALWAYS_NUMBERS)
    setmetatable(room, { __index = function(_, name)
        if not found_rarely then found_rarely = read(RARELY, RARELY_NUMBERS) end
        return rawget(room, name)
    end })
    return room.incarnation ~= ''
end

-- Writes what has changed.
local function save()
    local changes, last = {}, 0
    local function compare(names, numbers, found)
        for i, name in ipairs(names) do
            local value = room[name]
            if value ~= found[i] then
                last = last + 2
                changes[last - 1], changes[last] = name, i <= numbers and text(value) or value
            end
        end
    end
    compare(ALWAYS, ALWAYS_NUMBERS, found_always)
    if found_rarely then compare(RARELY, RARELY_NUMBERS, found_rarely) end
    if last > 0 then call('HSET', STATE, unpack(changes)) end
end
