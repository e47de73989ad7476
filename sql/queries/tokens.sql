-- name: CreateToken :exec
INSERT INTO tokens (id, user_id, name, scope, secret_hash, created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(name), sqlc.arg(scope), sqlc.arg(secret_hash), sqlc.arg(created_at),
        sqlc.arg(expires_at));

-- name: FindToken :one
SELECT sqlc.embed(tokens), sqlc.embed(users)
FROM tokens JOIN users ON users.id = tokens.user_id
WHERE tokens.secret_hash = sqlc.arg(secret_hash) AND tokens.expires_at > sqlc.arg(now) AND NOT users.disabled;

-- name: TouchToken :exec
UPDATE tokens SET last_used_at = sqlc.arg(last_used_at) WHERE id = sqlc.arg(id);

-- name: ListTokensFor :many
SELECT * FROM tokens WHERE user_id = sqlc.arg(principal) ORDER BY created_at;

-- name: RevokeTokenFor :execrows
DELETE FROM tokens WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(principal);

-- name: PolicyTokens :many
SELECT id, user_id, expires_at FROM tokens WHERE expires_at > sqlc.arg(now);

-- name: SweepTokens :exec
DELETE FROM tokens WHERE expires_at <= sqlc.arg(before);
