-- +goose Up
-- The SSH public keys by which people come in through the gate. One key belongs to one person of the hub.
CREATE TABLE ssh_keys (
    id           TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT   NOT NULL,
    public_key   TEXT   NOT NULL UNIQUE, -- type and base64, as in authorized_keys
    fingerprint  TEXT   NOT NULL,
    options      TEXT   NOT NULL DEFAULT '', -- the words before the key (sshd(8), AUTHORIZED_KEYS FILE FORMAT)
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,                     -- of the option expiry-time; absent: never
    last_used_at BIGINT                      -- to the minute
);
CREATE INDEX ssh_keys_user ON ssh_keys (user_id);

-- TCP ports of the hub, each for one target of one device. Whoever reserved it answers for it: what comes through is
-- checked against that person's grants.
CREATE TABLE tcp_ports (
    port       BIGINT NOT NULL PRIMARY KEY,
    device_id  TEXT   NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    target     TEXT   NOT NULL,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    UNIQUE (device_id, target)
);

-- +goose Down
SELECT 'There is no way back: restore a backup.';
