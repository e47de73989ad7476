-- +goose Up
-- Endpoints that events and messages are delivered to.
CREATE TABLE hook_endpoints (
    id              TEXT   NOT NULL PRIMARY KEY,
    name            TEXT   NOT NULL UNIQUE,
    url             TEXT   NOT NULL,
    events          TEXT   NOT NULL, -- JSON list of types; a trailing * stands for the rest
    topics          TEXT   NOT NULL, -- JSON list of MQTT topic filters
    devices         TEXT   NOT NULL, -- JSON list of device ids and tag:NAME; empty: of all, and of none
    format          TEXT   NOT NULL, -- standard, cloudevents, cloudevents-binary, raw
    transform_kind  TEXT   NOT NULL, -- jq, template; empty: none
    transform       TEXT   NOT NULL,
    headers         TEXT   NOT NULL, -- JSON object, by internal/seal, bound to the id
    signature       TEXT   NOT NULL, -- v1, v1a
    mode            TEXT   NOT NULL, -- parallel, ordered
    rate            DOUBLE PRECISION NOT NULL, -- attempts a second
    concurrency     BIGINT NOT NULL, -- attempts at once
    timeout_ms      BIGINT NOT NULL,
    state           TEXT   NOT NULL, -- active, paused, disabled; removed: its deliveries go bit by bit, then it does
    disabled_reason TEXT   NOT NULL DEFAULT '',
    created_at      BIGINT NOT NULL
);

-- What signs. An old one beside the current one has an end.
CREATE TABLE hook_endpoint_secrets (
    id          TEXT   NOT NULL PRIMARY KEY,
    endpoint_id TEXT   NOT NULL REFERENCES hook_endpoints (id) ON DELETE CASCADE,
    sealed      TEXT   NOT NULL, -- whsec_… or whsk_…, by internal/seal, bound to the id
    hint        TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT           -- absent: the current one
);
CREATE INDEX hook_endpoint_secrets_endpoint ON hook_endpoint_secrets (endpoint_id);

-- How an endpoint is doing, and what it has in the queue: so that nobody counts rows.
CREATE TABLE hook_endpoint_health (
    endpoint_id     TEXT   NOT NULL PRIMARY KEY REFERENCES hook_endpoints (id) ON DELETE CASCADE,
    breaker         TEXT   NOT NULL DEFAULT 'closed', -- closed, open, half-open
    opened          BIGINT NOT NULL DEFAULT 0, -- how often in a row it opened
    retry_at        BIGINT NOT NULL DEFAULT 0, -- open: when one may try; half-open: until when nobody else may
    failures        BIGINT NOT NULL DEFAULT 0, -- attempts in a row
    failing_since   BIGINT,                    -- the first of them
    window_at       BIGINT NOT NULL DEFAULT 0, -- attempts of a minute from here
    window_attempts BIGINT NOT NULL DEFAULT 0,
    window_failures BIGINT NOT NULL DEFAULT 0,
    last_at         BIGINT,
    last_error      TEXT   NOT NULL DEFAULT '',
    waiting         BIGINT NOT NULL DEFAULT 0, -- deliveries that are not finished
    waiting_bytes   BIGINT NOT NULL DEFAULT 0,
    kept            BIGINT NOT NULL DEFAULT 0, -- those that are
    kept_bytes      BIGINT NOT NULL DEFAULT 0,
    dead            BIGINT NOT NULL DEFAULT 0, -- among them
    refused         BIGINT NOT NULL DEFAULT 0, -- events for which its queue had no room
    refused_at      BIGINT NOT NULL DEFAULT 0  -- when that was last told
);

-- Attempts by the hour.
CREATE TABLE hook_endpoint_hours (
    endpoint_id TEXT   NOT NULL REFERENCES hook_endpoints (id) ON DELETE CASCADE,
    hour        BIGINT NOT NULL, -- since the epoch
    delivered   BIGINT NOT NULL DEFAULT 0,
    failed      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint_id, hour)
);

-- One row: what processes follow, and how far the event log was read.
CREATE TABLE hook_outgoing (
    id           BIGINT NOT NULL PRIMARY KEY,
    version      BIGINT NOT NULL, -- rises when an endpoint changes
    event_cursor BIGINT           -- absent: nothing was read yet
);
INSERT INTO hook_outgoing (id, version) VALUES (1, 1);

-- What is delivered: an event of the log, or an MQTT message. It goes with the last delivery of it.
CREATE TABLE hook_messages (
    id           TEXT   NOT NULL PRIMARY KEY,
    type         TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    device_id    TEXT,
    device_name  TEXT   NOT NULL DEFAULT '', -- as it was then
    user_id      TEXT,
    topic        TEXT   NOT NULL DEFAULT '',
    content_type TEXT   NOT NULL DEFAULT '',
    details      TEXT   NOT NULL DEFAULT '{}', -- JSON, of an MQTT message: sender, QoS, properties
    payload      BLOB   NOT NULL, -- an event's data, as JSON, or the message's payload
    hops         BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE hook_deliveries (
    id          TEXT   NOT NULL PRIMARY KEY,
    position    BIGINT NOT NULL UNIQUE, -- rises by one: the order of queueing
    message_id  TEXT   NOT NULL REFERENCES hook_messages (id),
    endpoint_id TEXT   NOT NULL REFERENCES hook_endpoints (id),
    type        TEXT   NOT NULL,
    device_id   TEXT,
    topic       TEXT   NOT NULL DEFAULT '',
    order_key   TEXT,            -- absent: in no order
    state       TEXT   NOT NULL, -- behind another of its key, waiting, sending, delivered, dead, cancelled
    attempts    BIGINT NOT NULL DEFAULT 0,
    next_at     BIGINT NOT NULL, -- when it is due
    lease_owner TEXT,            -- while it is being sent: by which hub,
    lease_token TEXT,            -- known to the one who sends it,
    lease_until BIGINT,          -- and when it is somebody else's
    last_status BIGINT,
    last_error  TEXT   NOT NULL DEFAULT '',
    took_ms     BIGINT,
    bytes       BIGINT NOT NULL, -- what it and its attempts keep
    replay_of   TEXT,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT
);
-- The next one that is due, and those that an endpoint has in a state.
CREATE INDEX hook_deliveries_due ON hook_deliveries (endpoint_id, state, next_at, position);
-- The next one of a key.
CREATE INDEX hook_deliveries_order ON hook_deliveries (endpoint_id, order_key, state, position) WHERE order_key IS NOT NULL;
CREATE INDEX hook_deliveries_message ON hook_deliveries (message_id);
CREATE INDEX hook_deliveries_leases ON hook_deliveries (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX hook_deliveries_open ON hook_deliveries (created_at) WHERE finished_at IS NULL;
CREATE INDEX hook_deliveries_finished ON hook_deliveries (state, finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE hook_attempts (
    delivery_id      TEXT   NOT NULL REFERENCES hook_deliveries (id) ON DELETE CASCADE,
    number           BIGINT NOT NULL,
    at               BIGINT NOT NULL,
    took_ms          BIGINT NOT NULL,
    address          TEXT   NOT NULL, -- that was connected; empty: none was
    method           TEXT   NOT NULL,
    url              TEXT   NOT NULL,
    request_headers  TEXT   NOT NULL, -- JSON list of pairs, secret ones as ***
    request_body     BLOB,            -- absent: that of attempt body_of
    body_of          BIGINT NOT NULL,
    status           BIGINT,
    response_headers TEXT   NOT NULL,
    response_body    BLOB   NOT NULL, -- its first 16 KiB
    response_cut     BOOLEAN NOT NULL,
    error            TEXT   NOT NULL,
    PRIMARY KEY (delivery_id, number)
);

-- +goose Down
SELECT 'There is no way back: restore a backup.';
