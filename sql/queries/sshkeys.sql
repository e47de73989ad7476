-- name: AddSSHKey :one
INSERT INTO ssh_keys (id, user_id, name, public_key, fingerprint, options, created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(name), sqlc.arg(public_key), sqlc.arg(fingerprint), sqlc.arg(options),
        sqlc.arg(created_at), sqlc.narg(expires_at))
RETURNING *;

-- name: ListSSHKeysFor :many
SELECT * FROM ssh_keys WHERE user_id = sqlc.arg(principal) ORDER BY created_at, id;

-- name: CountSSHKeysFor :one
SELECT count(*) FROM ssh_keys WHERE user_id = sqlc.arg(principal);

-- name: RemoveSSHKeyFor :one
DELETE FROM ssh_keys WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(principal) RETURNING *;

-- name: FindSSHKey :one
SELECT sqlc.embed(ssh_keys), sqlc.embed(users)
FROM ssh_keys JOIN users ON users.id = ssh_keys.user_id
WHERE ssh_keys.public_key = sqlc.arg(public_key) AND NOT users.disabled;

-- name: TouchSSHKey :exec
UPDATE ssh_keys SET last_used_at = sqlc.arg(last_used_at) WHERE id = sqlc.arg(id);

-- name: PolicySSHKeys :many
SELECT id, user_id, expires_at FROM ssh_keys
WHERE expires_at IS NULL OR expires_at > CAST(sqlc.arg(now) AS BIGINT);
