-- What is for sale. The counters are kept in the transaction of every sale, under this row's lock, so nobody ever
-- sums over holds; the check is the last line of defence against selling twice.
CREATE TABLE events (
    id        text        PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    name      text        NOT NULL,
    -- When the event itself takes place; shown to buyers, decides nothing.
    starts_at timestamptz,
    total_qty integer     NOT NULL CHECK (total_qty >= 0),
    sold_qty  integer     NOT NULL DEFAULT 0 CHECK (sold_qty >= 0),
    held_qty  integer     NOT NULL DEFAULT 0 CHECK (held_qty >= 0),
    CONSTRAINT never_oversold CHECK (sold_qty::bigint + held_qty <= total_qty)
);

-- One attempt to buy. `remaining` and `hold_expires_at` are what the first answer said: a retry hears the same.
CREATE TABLE orders (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id         text        NOT NULL,
    event_id        text        NOT NULL REFERENCES events (id),
    status          text        NOT NULL CHECK (status IN
        ('INIT', 'HOLD', 'PAYING', 'PAID', 'EXPIRED', 'REJECTED', 'CANCELLED', 'REFUNDED')),
    qty             integer     NOT NULL CHECK (qty > 0),
    -- NULL once the key is forgotten and may be used again.
    idempotency_key text,
    remaining       integer     NOT NULL,
    hold_expires_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_order_a_key UNIQUE (event_id, user_id, idempotency_key)
);

-- Refused attempts are kept only as long as their key is remembered.
CREATE INDEX orders_rejected ON orders (created_at) WHERE status = 'REJECTED';

-- Stock set aside until `expires_at`. A hold has the id of its order and ends with a payment or with its time.
CREATE TABLE holds (
    id         uuid        PRIMARY KEY REFERENCES orders (id),
    event_id   text        NOT NULL REFERENCES events (id),
    user_id    text        NOT NULL,
    qty        integer     NOT NULL CHECK (qty > 0),
    expires_at timestamptz NOT NULL
);

CREATE INDEX holds_by_expiry ON holds (event_id, expires_at);

-- The one hot row of a sale changes thousands of times a minute: leave room on its page, clean up early.
ALTER TABLE events SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
