-- +goose Up
-- How often a person had a request done anew: each time its command is another for the device, which answers one that it has run from memory.
ALTER TABLE hook_requests ADD COLUMN replays BIGINT NOT NULL DEFAULT 0;

-- +goose Down
SELECT 'There is no way back: restore a backup.';
