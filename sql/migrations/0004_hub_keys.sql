-- +goose Up
-- Which of the hub's tunnel keys a device is known to pin: one or two as wire.EncodeKey writes them, joined by a space.
-- Empty: it was enrolled before this column, and pins the oldest that the hub still has.
ALTER TABLE devices ADD COLUMN hub_keys TEXT NOT NULL DEFAULT '';

-- +goose Down
SELECT 'There is no way back: restore a backup.';
