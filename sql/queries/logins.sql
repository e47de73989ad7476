-- name: CreateLoginSession :exec
INSERT INTO login_sessions (id, secret_hash, user_id, by_link, address, program, created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(secret_hash), sqlc.arg(user_id), sqlc.arg(by_link), sqlc.arg(address), sqlc.arg(program),
        sqlc.arg(created_at), sqlc.arg(expires_at));

-- name: FindLoginSession :one
SELECT sqlc.embed(login_sessions), sqlc.embed(users)
FROM login_sessions JOIN users ON users.id = login_sessions.user_id
WHERE login_sessions.secret_hash = sqlc.arg(secret_hash) AND login_sessions.expires_at > sqlc.arg(now)
  AND NOT users.disabled;

-- name: EndLoginSession :execrows
DELETE FROM login_sessions WHERE id = sqlc.arg(id);

-- name: EndOtherLoginSessions :execrows
DELETE FROM login_sessions WHERE user_id = sqlc.arg(user_id) AND id <> sqlc.arg(kept);

-- name: PolicyLoginSessions :many
SELECT id, user_id, expires_at FROM login_sessions WHERE expires_at > sqlc.arg(now);

-- name: CreateLoginLink :exec
INSERT INTO login_links (secret_hash, user_id, created_at, expires_at)
VALUES (sqlc.arg(secret_hash), sqlc.narg(user_id), sqlc.arg(created_at), sqlc.arg(expires_at));

-- name: TakeLoginLink :one
DELETE FROM login_links
WHERE secret_hash = sqlc.arg(secret_hash) AND expires_at > sqlc.arg(now) AND user_id IS NOT NULL
RETURNING *;

-- name: TakeSetupLink :one
DELETE FROM login_links
WHERE secret_hash = sqlc.arg(secret_hash) AND expires_at > sqlc.arg(now) AND user_id IS NULL
RETURNING *;

-- name: DropSetupLinks :exec
DELETE FROM login_links WHERE user_id IS NULL;

-- name: DropLoginLinksOf :exec
DELETE FROM login_links WHERE user_id = sqlc.arg(user_id);

-- name: CreateCLILogin :exec
INSERT INTO cli_logins (secret_hash, user_code, host, address, status, created_at, expires_at)
VALUES (sqlc.arg(secret_hash), sqlc.arg(user_code), sqlc.arg(host), sqlc.arg(address), 'pending', sqlc.arg(created_at),
        sqlc.arg(expires_at));

-- name: FindCLILogin :one
SELECT * FROM cli_logins WHERE user_code = sqlc.arg(user_code) AND expires_at > sqlc.arg(now) AND status = 'pending';

-- name: FindCLILoginBySecret :one
SELECT * FROM cli_logins WHERE secret_hash = sqlc.arg(secret_hash);

-- name: DecideCLILogin :execrows
UPDATE cli_logins SET status = sqlc.arg(status), user_id = sqlc.arg(user_id)
WHERE user_code = sqlc.arg(user_code) AND expires_at > sqlc.arg(now) AND status = 'pending';

-- name: TakeApprovedCLILogin :one
DELETE FROM cli_logins
WHERE secret_hash = sqlc.arg(secret_hash) AND status = 'approved' AND expires_at > sqlc.arg(now)
RETURNING *;

-- name: CountPendingCLILogins :one
SELECT count(*) FROM cli_logins WHERE status = 'pending' AND expires_at > sqlc.arg(now);

-- name: SweepLoginSessions :exec
DELETE FROM login_sessions WHERE expires_at <= sqlc.arg(now);

-- name: SweepLoginLinks :exec
DELETE FROM login_links WHERE expires_at <= sqlc.arg(now);

-- name: SweepCLILogins :exec
DELETE FROM cli_logins WHERE expires_at <= sqlc.arg(now);
