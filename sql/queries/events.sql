-- name: GetEventChain :one
SELECT * FROM event_chain WHERE id = 1;

-- name: AppendEvent :exec
INSERT INTO events (id, type, at, device_id, user_id, data, hash)
VALUES (sqlc.arg(id), sqlc.arg(type), sqlc.arg(at), sqlc.narg(device_id), sqlc.narg(user_id), sqlc.arg(data), sqlc.arg(hash));

-- name: MoveEventHead :exec
UPDATE event_chain SET head_id = sqlc.arg(id), head_hash = sqlc.arg(hash) WHERE event_chain.id = 1;

-- name: MoveEventAnchor :exec
UPDATE event_chain SET anchor_id = sqlc.arg(id), anchor_hash = sqlc.arg(hash) WHERE event_chain.id = 1;

-- name: EventsAfter :many
SELECT * FROM events WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(at_most);

-- name: EventsBefore :many
SELECT * FROM events WHERE id < sqlc.arg(before) ORDER BY id DESC LIMIT sqlc.arg(at_most);

-- name: EventsOfType :many
SELECT * FROM events WHERE type = sqlc.arg(type) AND id < sqlc.arg(before) ORDER BY id DESC LIMIT sqlc.arg(at_most);

-- name: EventsOfDevice :many
SELECT * FROM events WHERE device_id = sqlc.arg(device_id) AND id < sqlc.arg(before) ORDER BY id DESC LIMIT sqlc.arg(at_most);

-- name: EventsOfUser :many
SELECT * FROM events WHERE user_id = sqlc.arg(user_id) AND id < sqlc.arg(before) ORDER BY id DESC LIMIT sqlc.arg(at_most);

-- name: EventTime :one
SELECT at FROM events WHERE id >= sqlc.arg(id) ORDER BY id LIMIT 1;

-- name: FirstEventID :one
SELECT CAST(coalesce(min(id), 0) AS BIGINT) AS first_id FROM events;

-- name: LastEventID :one
SELECT CAST(coalesce(max(id), 0) AS BIGINT) AS last_id FROM events;

-- name: FirstEventSince :one
-- The oldest that is to be kept. One from the future was written while the clock was ahead, or the clock is behind now: it is kept until one behind it is
-- old, which is looked for only where there is such a one.
SELECT e.id FROM events AS e WHERE e.at >= sqlc.arg(since)
    AND (e.at <= sqlc.arg(now) OR e.id > (SELECT coalesce(max(old.id), 0) FROM events AS old WHERE old.at < sqlc.arg(since)))
ORDER BY e.id LIMIT 1;

-- name: RemoveEventsTo :exec
DELETE FROM events WHERE id <= sqlc.arg(last);

-- name: CountEventsTo :one
SELECT count(*) AS events, count(hash) AS hashed FROM events WHERE id <= sqlc.arg(last);
