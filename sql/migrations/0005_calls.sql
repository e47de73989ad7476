-- +goose Up
-- Which of the hub's tunnel keys a device is known to pin: one or two as wire.EncodeKey writes them, joined by a space.
-- Empty: it was enrolled before this column, and pins the oldest that the hub still has.
ALTER TABLE devices ADD COLUMN hub_keys TEXT NOT NULL DEFAULT '';

-- Passwords of root on devices, as internal/rootpassword keeps them. Of one device there is an active one at most; pending
-- ones were told by the device and may have been set or not, the answer being lost.
CREATE TABLE root_passwords (
    id         TEXT   NOT NULL PRIMARY KEY,
    device_id  TEXT   NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    sealed     TEXT   NOT NULL, -- by internal/seal, bound to the id
    state      TEXT   NOT NULL CHECK (state IN ('pending', 'active')),
    created_at BIGINT NOT NULL,
    shown_at   BIGINT           -- when a person saw it last
);
CREATE INDEX root_passwords_device ON root_passwords (device_id);

-- A code whose devices get a password of root when they are first online, and the devices that still wait for it.
ALTER TABLE install_codes ADD COLUMN root_password BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE devices ADD COLUMN root_password_due BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
SELECT 'There is no way back: restore a backup.';
