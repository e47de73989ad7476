-- name: CreateUser :one
INSERT INTO users (id, email, handle, role, password_hash, created_at)
VALUES (sqlc.arg(id), sqlc.arg(email), sqlc.arg(handle), sqlc.arg(role), sqlc.narg(password_hash), sqlc.arg(created_at))
RETURNING *;

-- name: GetUser :one
SELECT * FROM users WHERE id = sqlc.arg(id);

-- name: GetUserByEmail :one
SELECT * FROM users WHERE email = sqlc.arg(email);

-- name: FindUser :one
SELECT * FROM users WHERE id = sqlc.arg(ref) OR email = sqlc.arg(ref) OR handle = sqlc.arg(ref);

-- name: HandleTaken :one
SELECT EXISTS (SELECT 1 FROM users WHERE handle = sqlc.arg(handle)) AS taken;

-- name: ListUsersFor :many
SELECT users.* FROM users
WHERE EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled AND p.role IN ('owner', 'admin'))
ORDER BY users.email;

-- name: HasOwner :one
SELECT EXISTS (SELECT 1 FROM users WHERE role = 'owner') AS has_owner;

-- name: CountOtherOwners :one
SELECT count(*) FROM users WHERE role = 'owner' AND NOT disabled AND id <> sqlc.arg(id);

-- name: UpdateUser :one
UPDATE users SET role = sqlc.arg(role), handle = sqlc.arg(handle), disabled = sqlc.arg(disabled)
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: SetPassword :exec
UPDATE users SET password_hash = sqlc.arg(password_hash) WHERE id = sqlc.arg(id);

-- name: SetLastLogin :exec
UPDATE users SET last_login_at = sqlc.arg(last_login_at) WHERE id = sqlc.arg(id);

-- name: RemoveUser :execrows
DELETE FROM users WHERE id = sqlc.arg(id);

-- name: PolicyUsers :many
SELECT id, handle, role, disabled FROM users;

-- name: AnyOwner :one
SELECT id FROM users WHERE role = 'owner' AND NOT disabled ORDER BY created_at LIMIT 1;
