-- +goose Up
-- Where others send requests to. What a source does with them is JSON of internal/webhook/incoming.Settings.
CREATE TABLE hook_sources (
    id         TEXT    NOT NULL PRIMARY KEY,
    slug       TEXT    NOT NULL UNIQUE, -- its address: /hook/SLUG
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    enabled    BOOLEAN NOT NULL,
    accepted   BIGINT  NOT NULL DEFAULT 0, -- requests that were kept
    last_at    BIGINT,                     -- of the last of them
    created_at BIGINT  NOT NULL
);

-- What senders sign with, or show.
CREATE TABLE hook_source_secrets (
    id         TEXT   NOT NULL PRIMARY KEY,
    source_id  TEXT   NOT NULL REFERENCES hook_sources (id) ON DELETE CASCADE,
    sealed     TEXT   NOT NULL, -- by internal/seal, bound to the id
    hint       TEXT   NOT NULL, -- its last four characters
    created_at BIGINT NOT NULL,
    expires_at BIGINT           -- of one that was replaced
);
CREATE INDEX hook_source_secrets_source ON hook_source_secrets (source_id);

-- Requests that were accepted, and what is to be done with them.
CREATE TABLE hook_requests (
    number       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- order of arrival
    id           TEXT    NOT NULL UNIQUE,  -- req_ and 128 random bits
    source_id    TEXT    NOT NULL REFERENCES hook_sources (id) ON DELETE CASCADE,
    at           BIGINT  NOT NULL,
    method       TEXT    NOT NULL,
    path         TEXT    NOT NULL, -- behind the slug, with the query
    address      TEXT    NOT NULL,
    content_type TEXT    NOT NULL,
    bytes        BIGINT  NOT NULL, -- of the body
    key          TEXT    NOT NULL, -- by which repeats are told
    repeats      BIGINT  NOT NULL DEFAULT 0,
    state        TEXT    NOT NULL CHECK (state IN ('waiting', 'done', 'failed')),
    attempts     BIGINT  NOT NULL DEFAULT 0,
    next_at      BIGINT  NOT NULL, -- of one that waits: when it is due; of one that is worked on: when that is given up
    owner        TEXT    NOT NULL DEFAULT '', -- the hub, and its try, that works on it
    expires_at   BIGINT,           -- it is not done any more then
    error        TEXT    NOT NULL DEFAULT '',
    topic        TEXT    NOT NULL,
    device_id    TEXT    NOT NULL DEFAULT '', -- it may be gone
    plan         TEXT    NOT NULL, -- JSON: what else is needed to do it
    status       BIGINT,           -- the answer, where one came
    answer_type  TEXT    NOT NULL DEFAULT '',
    answer       BLOB,
    exit_code    BIGINT,
    took_ms      BIGINT,           -- from arrival to answer
    headers      TEXT    NOT NULL, -- JSON, in order; those that speak of a secret as ***
    body         BLOB    NOT NULL,
    payload      BLOB              -- what is published, where it is not the body
);
CREATE INDEX hook_requests_source ON hook_requests (source_id, number);
CREATE INDEX hook_requests_due ON hook_requests (next_at) WHERE state = 'waiting';
CREATE INDEX hook_requests_device ON hook_requests (device_id) WHERE state = 'waiting' AND device_id <> '';

-- Which requests came already.
CREATE TABLE hook_seen (
    source_id  TEXT   NOT NULL REFERENCES hook_sources (id) ON DELETE CASCADE,
    key        TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- it counts as new from then on
    PRIMARY KEY (source_id, key)
) WITHOUT ROWID;
CREATE INDEX hook_seen_expires ON hook_seen (expires_at);

-- +goose Down
SELECT 'There is no way back: restore a backup.';
