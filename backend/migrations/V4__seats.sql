-- Named seats. An event that has seats is sold by seat: its `total_qty` is their number.
ALTER TABLE events
    ADD COLUMN seated       boolean NOT NULL DEFAULT false,
    -- Counts the changes of seats; the number of each is given under the row's lock, so they are in order, without gaps.
    ADD COLUMN seat_version bigint  NOT NULL DEFAULT 0;

ALTER TABLE orders
    ADD COLUMN seated   boolean NOT NULL DEFAULT false,
    -- The seats of the first answer; of a refused order, those that were taken.
    ADD COLUMN seat_ids text[];

CREATE TABLE seats (
    event_id    text     NOT NULL REFERENCES events (id),
    -- SECTION-ROW-NUMBER, unique in its event.
    id          text     NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
    section     text     NOT NULL,
    "row"       text     NOT NULL,
    number      integer  NOT NULL,
    -- The best seat has the lowest rank.
    rank        integer  NOT NULL,
    price_minor integer  NOT NULL CHECK (price_minor >= 0),
    status      text     NOT NULL DEFAULT 'FREE' CHECK (status IN ('FREE', 'HELD', 'SOLD')),
    -- Without a foreign key, like that of `payments`; the trigger below keeps the two together.
    order_id    uuid,
    PRIMARY KEY (event_id, id),
    CONSTRAINT free_or_of_an_order CHECK ((status = 'FREE') = (order_id IS NULL))
) WITH (fillfactor = 70);

CREATE INDEX seats_free ON seats (event_id, rank) WHERE status = 'FREE';
CREATE INDEX seats_of_order ON seats (order_id) WHERE order_id IS NOT NULL;

-- The latest changes, for those who follow a map and were away for a moment.
CREATE TABLE seat_changes (
    event_id text        NOT NULL,
    version  bigint      NOT NULL,
    status   text        NOT NULL,
    seats    text[]      NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, version)
);

CREATE INDEX seat_changes_by_time ON seat_changes (at);

CREATE INDEX orders_seated ON orders (event_id, user_id) WHERE seated;

-- Writes down that seats changed. Locks the event until the transaction ends, which is what orders the versions.
CREATE FUNCTION note_seats(changed_event text, changed_status text, changed text[]) RETURNS void
LANGUAGE sql AS $$
    WITH next AS (
        UPDATE events SET seat_version = seat_version + 1 WHERE id = changed_event RETURNING seat_version)
    INSERT INTO seat_changes (event_id, version, status, seats)
    SELECT changed_event, seat_version, changed_status, changed FROM next
$$;

-- Seats follow their order, whoever ends it: the buyer, the gateway, the time.
CREATE FUNCTION seats_follow_order() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    followed text[];
    fate     text := CASE WHEN NEW.status = 'PAID' THEN 'SOLD' ELSE 'FREE' END;
BEGIN
    WITH changed AS (
        UPDATE seats SET status = fate, order_id = CASE WHEN fate = 'SOLD' THEN NEW.id END
        WHERE order_id = NEW.id AND status <> fate RETURNING id)
    SELECT array_agg(id ORDER BY id) INTO followed FROM changed;
    IF followed IS NOT NULL THEN
        PERFORM note_seats(NEW.event_id, fate, followed);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER seats_follow_order AFTER UPDATE OF status ON orders FOR EACH ROW
    WHEN (NEW.seated AND NEW.status IN ('PAID', 'EXPIRED', 'CANCELLED', 'REFUNDED') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION seats_follow_order();
