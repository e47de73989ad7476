-- +goose Up
-- What an API token may do of what its user may; those made before this column may all of it.
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT 'all' CHECK (scope IN ('all', 'connect', 'read'));

-- +goose Down
SELECT 'There is no way back: restore a backup.';
