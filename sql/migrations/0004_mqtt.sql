-- +goose Up
-- Usernames and passwords for MQTT. A device's carrier and a person's short-lived token need none.
CREATE TABLE mqtt_credentials (
    id           TEXT   NOT NULL PRIMARY KEY,
    kind         TEXT   NOT NULL, -- device, thing, user, application
    username     TEXT   NOT NULL UNIQUE,
    hash         TEXT   NOT NULL, -- sha256$BASE64 of a password that the hub made, or Mosquitto's own $6$… and $7$…
    device_id    TEXT   REFERENCES devices (id) ON DELETE CASCADE,
    user_id      TEXT   REFERENCES users (id) ON DELETE CASCADE,
    thing        TEXT   NOT NULL DEFAULT '',
    label        TEXT   NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,           -- absent: never
    last_used_at BIGINT            -- to the minute
);

-- Access rules made by hand; those of roles are in the program. Of rules that apply, deny wins.
CREATE TABLE mqtt_rules (
    id         TEXT   NOT NULL PRIMARY KEY,
    subject    TEXT   NOT NULL, -- everybody, devices, things, role:…, tag:…, user:ID, device:ID, credential:ID
    access     TEXT   NOT NULL, -- read, write, readwrite, deny
    filter     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (subject, access, filter)
);

-- MQTT sessions that outlive their connection, and Wills, keyed by principal and ClientID.
CREATE TABLE mqtt_sessions (
    principal       TEXT   NOT NULL,
    client_id       TEXT   NOT NULL,
    state           TEXT   NOT NULL, -- JSON: whose it is, version, expiry interval, Will
    disconnected_at BIGINT,          -- absent: connected when the hub last knew
    PRIMARY KEY (principal, client_id)
);
CREATE TABLE mqtt_subscriptions (
    principal TEXT NOT NULL,
    client_id TEXT NOT NULL,
    filter    TEXT NOT NULL,
    options   TEXT NOT NULL, -- JSON: qos, no local, retain as published, retain handling, identifier
    PRIMARY KEY (principal, client_id, filter)
);
CREATE TABLE mqtt_inflight (
    principal TEXT   NOT NULL,
    client_id TEXT   NOT NULL,
    incoming  BIGINT NOT NULL, -- 1: a QoS 2 packet of the client that awaits PUBREL; its other columns are empty
    packet_id BIGINT NOT NULL,
    position  BIGINT NOT NULL, -- order of sending
    released  BIGINT NOT NULL, -- 1: PUBREC has come, PUBREL is due; there is no packet any more
    packet    BLOB   NOT NULL, -- PUBLISH as MQTT 5.0 writes it
    sender    TEXT   NOT NULL, -- the principal's name, for people
    at        BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (principal, client_id, incoming, packet_id)
);
CREATE TABLE mqtt_retained (
    topic      TEXT   NOT NULL PRIMARY KEY,
    payload    BLOB   NOT NULL,
    qos        BIGINT NOT NULL,
    properties TEXT   NOT NULL, -- JSON: content type, response topic, correlation data, user properties
    sender     TEXT   NOT NULL, -- the principal's name, for people
    at         BIGINT NOT NULL,
    expires_at BIGINT
);

-- Messages that people saved in the console.
CREATE TABLE mqtt_templates (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    message    TEXT   NOT NULL, -- JSON, as POST /api/v1/mqtt/publish takes it
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, name)
);

-- +goose Down
SELECT 'There is no way back: restore a backup.';
