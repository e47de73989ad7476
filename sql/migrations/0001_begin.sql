-- Times are integer milliseconds since 1970, UTC. Ids are a prefix and a ULID, made by the hub without coordination.
-- Lists that are only ever read whole are JSON arrays in TEXT. A `…_hash` is the hex SHA-256 of a secret that the hub
-- showed once and does not keep.

-- +goose Up
CREATE TABLE settings (
    name  TEXT   NOT NULL PRIMARY KEY,
    value TEXT   NOT NULL
);

-- Counts every change that may alter who may do what. A hub that sees it move reads its policy again, whichever process
-- moved it.
CREATE TABLE access_version (
    id      BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO access_version (id, version) VALUES (1, 1);

CREATE TABLE secrets (
    name       TEXT   NOT NULL PRIMARY KEY,
    sealed     TEXT   NOT NULL, -- base64, by internal/seal, bound to the name
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL UNIQUE, -- lower case
    handle        TEXT    NOT NULL UNIQUE,
    role          TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'operator', 'viewer')),
    password_hash TEXT,                    -- argon2id in PHC form; absent: no sign-in by password
    disabled      BOOLEAN NOT NULL DEFAULT FALSE,
    created_at    BIGINT  NOT NULL,
    last_login_at BIGINT
);

CREATE TABLE login_sessions (
    id           TEXT    NOT NULL PRIMARY KEY,
    secret_hash  TEXT    NOT NULL UNIQUE,
    user_id      TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    by_link      BOOLEAN NOT NULL, -- began with a one-time link, so it may set a first password
    address      TEXT    NOT NULL,
    program      TEXT    NOT NULL,
    created_at   BIGINT  NOT NULL,
    expires_at   BIGINT  NOT NULL
);
CREATE INDEX login_sessions_user ON login_sessions (user_id);

-- One-time links. The row dies at first use.
CREATE TABLE login_links (
    secret_hash TEXT   NOT NULL PRIMARY KEY,
    user_id     TEXT   REFERENCES users (id) ON DELETE CASCADE, -- absent: the set-up link that makes the owner
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);

CREATE TABLE cli_logins (
    secret_hash TEXT   NOT NULL PRIMARY KEY,
    user_code   TEXT   NOT NULL UNIQUE, -- eight letters without the dash
    host        TEXT   NOT NULL,
    address     TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN ('pending', 'approved', 'denied')),
    user_id     TEXT   REFERENCES users (id) ON DELETE CASCADE, -- who approved
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);

CREATE TABLE tokens (
    id           TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT   NOT NULL,
    secret_hash  TEXT   NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT -- to the minute
);
CREATE INDEX tokens_user ON tokens (user_id);

CREATE TABLE devices (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    public_key      TEXT    NOT NULL UNIQUE, -- of the tunnel: Ed25519, base64url
    status          TEXT    NOT NULL CHECK (status IN ('pending', 'active')),
    via             TEXT    NOT NULL CHECK (via IN ('agent', 'openssh')),
    default_login   TEXT    NOT NULL DEFAULT '',
    facts           TEXT    NOT NULL DEFAULT '{}', -- JSON, as the device told, made printable
    agent_version   TEXT    NOT NULL DEFAULT '',
    address         TEXT    NOT NULL DEFAULT '',
    clock_offset_ms BIGINT,                         -- the device's clock minus the hub's; absent: not known yet
    ping_seconds    BIGINT  NOT NULL DEFAULT 15,
    cause           TEXT    NOT NULL DEFAULT '',
    created_at      BIGINT  NOT NULL,
    last_seen_at    BIGINT,
    online_since    BIGINT
);

CREATE TABLE device_tags (
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    tag       TEXT NOT NULL,
    PRIMARY KEY (device_id, tag)
);
CREATE INDEX device_tags_tag ON device_tags (tag);

CREATE TABLE device_host_keys (
    device_id   TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    host_key    TEXT    NOT NULL, -- as in authorized_keys, without a comment
    fingerprint TEXT    NOT NULL,
    pending     BOOLEAN NOT NULL, -- the device reports it and nobody has accepted it
    reported    BOOLEAN NOT NULL DEFAULT TRUE, -- in the device's last report
    created_at  BIGINT  NOT NULL,
    PRIMARY KEY (device_id, host_key)
);

-- Neither device nor tag: every device.
CREATE TABLE grants (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_id  TEXT    REFERENCES devices (id) ON DELETE CASCADE,
    tag        TEXT,
    logins     TEXT    NOT NULL, -- JSON array
    targets    TEXT    NOT NULL, -- JSON array
    deny       BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT,
    CHECK (device_id IS NULL OR tag IS NULL)
);
CREATE INDEX grants_user ON grants (user_id);

CREATE TABLE install_codes (
    id             TEXT    NOT NULL PRIMARY KEY,
    code_hash      TEXT    NOT NULL UNIQUE,
    name           TEXT    NOT NULL DEFAULT '',
    tags           TEXT    NOT NULL, -- JSON array
    allow          TEXT    NOT NULL, -- JSON array of HOST:PORT
    uses           BIGINT  NOT NULL,
    used           BIGINT  NOT NULL DEFAULT 0,
    approval       BOOLEAN NOT NULL,
    approval_short BOOLEAN NOT NULL,
    in_url         BOOLEAN NOT NULL DEFAULT FALSE, -- the short line was read, so the code stands in somebody's log
    replaces       TEXT    REFERENCES devices (id) ON DELETE CASCADE,
    created_by     TEXT    NOT NULL,
    created_at     BIGINT  NOT NULL,
    expires_at     BIGINT  NOT NULL,
    revoked_at     BIGINT
);

CREATE TABLE install_steps (
    id        TEXT   NOT NULL PRIMARY KEY,
    code_id   TEXT   NOT NULL REFERENCES install_codes (id) ON DELETE CASCADE,
    step      TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    address   TEXT   NOT NULL DEFAULT '',
    program   TEXT   NOT NULL DEFAULT '',
    device_id TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX install_steps_code ON install_steps (code_id);

-- What a code gave to a key, so that a repeated request gets the same answer.
CREATE TABLE enrolments (
    code_id    TEXT   NOT NULL REFERENCES install_codes (id) ON DELETE CASCADE,
    public_key TEXT   NOT NULL,
    device_id  TEXT   NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (code_id, public_key)
);
CREATE INDEX enrolments_device ON enrolments (device_id);

CREATE TABLE events (
    id        BIGINT NOT NULL PRIMARY KEY, -- rises by one
    type      TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    device_id TEXT,
    user_id   TEXT,
    data      TEXT   NOT NULL DEFAULT '{}' -- JSON object
);

-- Shells live on the device; a hub that starts again takes them up from here.
CREATE TABLE shells (
    id           TEXT    NOT NULL PRIMARY KEY,
    user_id      TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_id    TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    login        TEXT    NOT NULL,
    rescue       BOOLEAN NOT NULL DEFAULT FALSE,
    state        TEXT    NOT NULL,
    cols         BIGINT  NOT NULL,
    rows         BIGINT  NOT NULL,
    outlives_hub BOOLEAN NOT NULL DEFAULT FALSE,
    read_bytes   BIGINT  NOT NULL DEFAULT 0, -- output received from the device so far
    exit_status  BIGINT,
    created_at   BIGINT  NOT NULL,
    ended_at     BIGINT
);
CREATE INDEX shells_user ON shells (user_id);

-- +goose Down
SELECT 'There is no way back: restore a backup.';
