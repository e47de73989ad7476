-- name: CreateShell :one
INSERT INTO shells (id, user_id, device_id, login, rescue, state, cols, rows, created_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(device_id), sqlc.arg(login), sqlc.arg(rescue), sqlc.arg(state),
        sqlc.arg(cols), sqlc.arg(rows), sqlc.arg(created_at))
RETURNING *;

-- name: LiveShells :many
SELECT * FROM shells WHERE ended_at IS NULL ORDER BY created_at;

-- name: SetShellState :exec
UPDATE shells SET state = sqlc.arg(state), outlives_hub = sqlc.arg(outlives_hub) WHERE id = sqlc.arg(id);

-- name: EndShell :exec
UPDATE shells SET state = 'ended', ended_at = sqlc.arg(ended_at), exit_status = sqlc.narg(exit_status)
WHERE id = sqlc.arg(id) AND ended_at IS NULL;

-- name: SweepShells :exec
DELETE FROM shells WHERE ended_at IS NOT NULL AND ended_at <= CAST(sqlc.arg(before) AS BIGINT);
