-- name: GetSetting :one
SELECT value FROM settings WHERE name = sqlc.arg(name);

-- name: PutSetting :exec
INSERT INTO settings (name, value) VALUES (sqlc.arg(name), sqlc.arg(value))
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: GetSecret :one
SELECT sealed FROM secrets WHERE name = sqlc.arg(name);

-- name: PutSecret :exec
INSERT INTO secrets (name, sealed, created_at) VALUES (sqlc.arg(name), sqlc.arg(sealed), sqlc.arg(created_at))
ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed;

-- name: AccessVersion :one
SELECT version FROM access_version WHERE id = 1;

-- name: RaiseAccessVersion :exec
UPDATE access_version SET version = version + 1 WHERE id = 1;
