-- name: CreateInstallCode :one
INSERT INTO install_codes (id, code_hash, name, tags, allow, uses, approval, approval_short, root_password, replaces, created_by,
                           created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(code_hash), sqlc.arg(name), sqlc.arg(tags), sqlc.arg(allow), sqlc.arg(uses),
        sqlc.arg(approval), sqlc.arg(approval_short), sqlc.arg(root_password), sqlc.narg(replaces), sqlc.arg(created_by), sqlc.arg(created_at),
        sqlc.arg(expires_at))
RETURNING *;

-- name: ClaimInstallCode :one
UPDATE install_codes SET used = used + 1
WHERE code_hash = sqlc.arg(code_hash) AND used < uses AND expires_at > sqlc.arg(now) AND revoked_at IS NULL
RETURNING *;

-- name: FindInstallCode :one
SELECT * FROM install_codes WHERE code_hash = sqlc.arg(code_hash);

-- name: GetInstallCodeFor :one
SELECT install_codes.* FROM install_codes
WHERE install_codes.id = sqlc.arg(id)
  AND EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled AND p.role IN ('owner', 'admin'));

-- name: ListInstallCodesFor :many
SELECT install_codes.* FROM install_codes
WHERE expires_at > sqlc.arg(now) AND revoked_at IS NULL AND used < uses
  AND EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled AND p.role IN ('owner', 'admin'))
ORDER BY created_at;

-- name: LiveInstallCodes :many
SELECT id FROM install_codes WHERE expires_at > sqlc.arg(now) AND revoked_at IS NULL AND used < uses LIMIT 2;

-- name: RevokeInstallCode :execrows
UPDATE install_codes SET revoked_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND revoked_at IS NULL;

-- name: MarkCodeInURL :exec
UPDATE install_codes SET in_url = TRUE WHERE id = sqlc.arg(id);

-- name: AddInstallStep :exec
INSERT INTO install_steps (id, code_id, step, at, address, program, device_id)
VALUES (sqlc.arg(id), sqlc.arg(code_id), sqlc.arg(step), sqlc.arg(at), sqlc.arg(address), sqlc.arg(program),
        sqlc.arg(device_id));

-- name: CountInstallSteps :one
SELECT count(*) FROM install_steps WHERE code_id = sqlc.arg(code_id);

-- name: HasInstallStep :one
SELECT EXISTS (SELECT 1 FROM install_steps
               WHERE code_id = sqlc.arg(code_id) AND step = sqlc.arg(step) AND device_id = sqlc.arg(device_id)) AS seen;

-- name: InstallSteps :many
SELECT sqlc.embed(install_steps), devices.name AS device_name
FROM install_steps LEFT JOIN devices ON devices.id = install_steps.device_id
WHERE code_id = sqlc.arg(code_id)
ORDER BY at, install_steps.id;

-- name: CreateEnrolment :exec
INSERT INTO enrolments (code_id, public_key, device_id, created_at)
VALUES (sqlc.arg(code_id), sqlc.arg(public_key), sqlc.arg(device_id), sqlc.arg(created_at));

-- name: FindEnrolment :one
SELECT * FROM enrolments WHERE code_id = sqlc.arg(code_id) AND public_key = sqlc.arg(public_key);

-- name: EnrolmentOf :one
SELECT * FROM enrolments WHERE device_id = sqlc.arg(device_id) ORDER BY created_at DESC LIMIT 1;

-- name: SweepInstallCodes :exec
DELETE FROM install_codes WHERE expires_at <= sqlc.arg(before);
