-- What the world outside is still to be told. A row is written in the transaction of the change it tells, and goes
-- when it was told: nothing is told that did not happen, nothing that happened stays untold.
CREATE TABLE outbox (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 'orders': the payload is a JSON list of {orderId, eventId, userId, status}, for the sockets of all processes.
    -- 'payment': the key is a payment that is to be driven to its end.
    topic      text        NOT NULL CHECK (topic IN ('orders', 'payment')),
    -- Of one topic, at most one row waits for one key.
    key        text,
    payload    text        NOT NULL DEFAULT '[]',
    -- Failures in a row; it is tried again at `due_at`, later each time.
    attempts   integer     NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL DEFAULT now(),
    -- Given up, until an operator asks for another try.
    dead_at    timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX outbox_due ON outbox (due_at) WHERE dead_at IS NULL;
CREATE INDEX outbox_dead ON outbox (id) WHERE dead_at IS NOT NULL;
CREATE UNIQUE INDEX outbox_one_a_key ON outbox (topic, key) WHERE key IS NOT NULL;

-- Rows live for milliseconds: clean up early.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- In the smallest unit of the currency.
ALTER TABLE events
    ADD COLUMN price_minor integer NOT NULL DEFAULT 5000 CHECK (price_minor >= 0),
    ADD COLUMN currency    text    NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$');

ALTER TABLE orders
    -- SHA-256 of what was asked for: the same key with another body is another order. NULL for a plain purchase.
    ADD COLUMN request_hash bytea,
    ADD COLUMN amount_minor bigint;

-- The payment of an order by the gateway.
CREATE TABLE payments (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Without a foreign key, which every refused order would be checked against when it is deleted.
    order_id     uuid        NOT NULL,
    event_id     text        NOT NULL,
    user_id      text        NOT NULL,
    status       text        NOT NULL DEFAULT 'INTENT' CHECK (status IN
        ('INTENT', 'AUTHORIZING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDING', 'REFUNDED')),
    amount_minor bigint      NOT NULL CHECK (amount_minor >= 0),
    currency     text        NOT NULL,
    -- Continued at the gateway and in its answers.
    traceparent  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

-- Whatever buyers click, an order has one payment that may still succeed.
CREATE UNIQUE INDEX one_payment_an_order ON payments (order_id)
    WHERE status IN ('INTENT', 'AUTHORIZING', 'SUCCEEDED');
CREATE INDEX payments_of_order ON payments (order_id);

-- An event of the gateway is taken once. Rows older than the window of its signature cannot come again.
CREATE TABLE webhook_events (
    id          text        PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX webhook_events_by_time ON webhook_events (received_at);

-- The ledger of the mock gateway: here, so that it survives a restart and every process's gateway knows every charge.
CREATE TABLE mock_charges (
    payment_id   uuid        PRIMARY KEY,
    amount_minor bigint      NOT NULL,
    currency     text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled', 'refunded')),
    -- What it becomes at `due_at`; a silent charge becomes nothing.
    outcome      text        NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'silent')),
    due_at       timestamptz NOT NULL,
    -- Whether the webhook of `state` is still to be delivered, and since how many attempts.
    untold       boolean     NOT NULL DEFAULT false,
    attempts     integer     NOT NULL DEFAULT 0,
    traceparent  text
);

CREATE INDEX mock_charges_due ON mock_charges (due_at) WHERE untold OR state = 'pending' AND outcome <> 'silent';
