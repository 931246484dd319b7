-- Practice: an event whose sale opens again and again, each time with its whole stock. A window is named by its opening,
-- in milliseconds since the epoch.
CREATE TABLE practice (
    event_id  text   PRIMARY KEY REFERENCES events (id),
    -- Periods follow each other from the epoch on; the sale is open from `opens_ms` to `closes_ms` of each.
    every_ms  bigint NOT NULL CHECK (every_ms BETWEEN 1000 AND 86400000),
    opens_ms  bigint NOT NULL CHECK (opens_ms >= 0),
    closes_ms bigint NOT NULL CHECK (closes_ms > opens_ms AND closes_ms <= every_ms)
);

-- The window that the stock is for; of an order, the one that it was made in. NULL: an ordinary sale. Orders of former
-- windows are history: they count against no stock.
ALTER TABLE events ADD COLUMN practice_window bigint;
ALTER TABLE orders ADD COLUMN practice_window bigint;

-- How fast each visitor was in each window. The latest are kept.
CREATE TABLE practice_runs (
    event_id        text   NOT NULL,
    practice_window bigint NOT NULL,
    user_id         text   NOT NULL,
    elapsed_ms      bigint NOT NULL CHECK (elapsed_ms >= 0),
    PRIMARY KEY (event_id, practice_window, user_id)
);

CREATE INDEX practice_runs_by_speed ON practice_runs (event_id, elapsed_ms);

CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- Whatever a process believes, by this clock nothing is held outside a window, nor before its stock is there. The detail
-- is how many milliseconds there are to wait.
CREATE FUNCTION practice_gate() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    rule    practice%ROWTYPE;
    at      bigint := now_ms();
    opening bigint;
    is_open boolean;
BEGIN
    SELECT * INTO rule FROM practice WHERE event_id = NEW.id;
    opening := at - at % rule.every_ms + rule.opens_ms;
    is_open := at >= opening AND at < opening - rule.opens_ms + rule.closes_ms;
    IF is_open AND opening = NEW.practice_window THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'VB001', MESSAGE = 'the sale is closed',
        DETAIL = CASE WHEN is_open THEN 0 WHEN at < opening THEN opening - at
            ELSE opening + rule.every_ms - at END::text;
END
$$;

CREATE TRIGGER practice_gate BEFORE UPDATE OF held_qty ON events FOR EACH ROW
    WHEN (NEW.practice_window IS NOT NULL AND NEW.held_qty > OLD.held_qty)
    EXECUTE FUNCTION practice_gate();

-- A visitor's first payment in a window is the best. It is written under the lock of the event, like every payment.
CREATE FUNCTION note_practice_run() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO practice_runs (event_id, practice_window, user_id, elapsed_ms)
    VALUES (NEW.event_id, NEW.practice_window, NEW.user_id, greatest(0, now_ms() - NEW.practice_window))
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_practice_run AFTER UPDATE OF status ON orders FOR EACH ROW
    WHEN (NEW.practice_window IS NOT NULL AND NEW.status = 'PAID' AND OLD.status <> 'PAID')
    EXECUTE FUNCTION note_practice_run();
