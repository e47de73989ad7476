-- +goose Up
-- How often a person had a request done anew: each time its command is another for the device, which answers one that it has run from memory.
ALTER TABLE hook_requests ADD COLUMN replays BIGINT NOT NULL DEFAULT 0;

-- What a request takes of the disk: the sizes of its body, payload, answer, headers, path and plan. Counted are all, and those that wait, in indexes, which
-- have the bodies not in them; there also the old ones are looked for.
ALTER TABLE hook_requests ADD COLUMN kept BIGINT NOT NULL DEFAULT 0;
UPDATE hook_requests SET kept = length(body) + coalesce(length(payload), 0) + coalesce(length(answer), 0) + length(CAST(headers AS BLOB))
    + length(CAST(path AS BLOB)) + length(CAST(plan AS BLOB));
DROP INDEX hook_requests_source;
CREATE INDEX hook_requests_source ON hook_requests (source_id, number, kept, at);
DROP INDEX hook_requests_waiting;
CREATE INDEX hook_requests_waiting ON hook_requests (number, source_id, at, kept) WHERE state = 'waiting';

-- +goose Down
SELECT 'There is no way back: restore a backup.';
