-- +goose Up
-- Each event's hash is over itself and the hash before it, as internal/events writes it. NULL: from before the chain.
ALTER TABLE events ADD COLUMN hash BLOB;

CREATE INDEX events_type ON events (type, id);
CREATE INDEX events_device ON events (device_id, id) WHERE device_id IS NOT NULL;
CREATE INDEX events_user ON events (user_id, id) WHERE user_id IS NOT NULL;

-- Both ends of the chain. Anchor: the last event that is no longer there, or was there before the chain; an empty hash says the
-- second. Head: the newest event.
CREATE TABLE event_chain (
    id          BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    anchor_id   BIGINT NOT NULL,
    anchor_hash BLOB   NOT NULL,
    head_id     BIGINT NOT NULL,
    head_hash   BLOB   NOT NULL
);
INSERT INTO event_chain (id, anchor_id, anchor_hash, head_id, head_hash)
SELECT 1, coalesce(max(id), 0), X'', coalesce(max(id), 0), X'' FROM events;

-- +goose Down
SELECT 'There is no way back: restore a backup.';
