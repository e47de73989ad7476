-- name: AddGrant :one
INSERT INTO grants (id, user_id, device_id, tag, logins, targets, deny, strict, created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.narg(device_id), sqlc.narg(tag), sqlc.arg(logins), sqlc.arg(targets),
        sqlc.arg(deny), sqlc.arg(strict), sqlc.arg(created_at), sqlc.narg(expires_at))
RETURNING *;

-- name: ListGrantsFor :many
SELECT sqlc.embed(grants), users.email AS user_email, devices.name AS device_name
FROM grants JOIN users ON users.id = grants.user_id LEFT JOIN devices ON devices.id = grants.device_id
WHERE EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled AND p.role IN ('owner', 'admin'))
ORDER BY grants.created_at, grants.id;

-- name: RemoveGrant :execrows
DELETE FROM grants WHERE id = sqlc.arg(id);

-- name: PolicyGrants :many
SELECT * FROM grants;

-- name: ListGrants :many
SELECT sqlc.embed(grants), users.email AS user_email, devices.name AS device_name
FROM grants JOIN users ON users.id = grants.user_id LEFT JOIN devices ON devices.id = grants.device_id
ORDER BY grants.created_at, grants.id;
