-- name: AppendEvent :one
INSERT INTO events (id, type, at, device_id, user_id, data)
VALUES ((SELECT coalesce(max(e.id), 0) + 1 FROM events AS e), sqlc.arg(type), sqlc.arg(at), sqlc.narg(device_id),
        sqlc.narg(user_id), sqlc.arg(data))
RETURNING *;

-- name: EventsAfter :many
SELECT * FROM events WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(at_most);

-- name: LastEventID :one
SELECT CAST(coalesce(max(id), 0) AS BIGINT) AS last_id FROM events;

-- name: SweepEvents :exec
DELETE FROM events WHERE at < sqlc.arg(before) AND id < sqlc.arg(keep_from);
