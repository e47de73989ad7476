-- name: CreateMQTTCredential :one
INSERT INTO mqtt_credentials (id, kind, username, hash, device_id, user_id, thing, label, created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(kind), sqlc.arg(username), sqlc.arg(hash), sqlc.narg(device_id), sqlc.narg(user_id),
        sqlc.arg(thing), sqlc.arg(label), sqlc.arg(created_at), sqlc.narg(expires_at))
RETURNING *;

-- name: MQTTCredentialByUsername :one
SELECT * FROM mqtt_credentials WHERE username = sqlc.arg(username);

-- name: TouchMQTTCredential :exec
UPDATE mqtt_credentials SET last_used_at = sqlc.arg(last_used_at) WHERE id = sqlc.arg(id);

-- Managers see all, others their own.
-- name: ListMQTTCredentialsFor :many
SELECT c.* FROM mqtt_credentials AS c
WHERE EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled
                AND (p.role IN ('owner', 'admin') OR (c.kind = 'user' AND c.user_id = p.id)))
ORDER BY c.username;

-- name: RemoveMQTTCredentialFor :one
DELETE FROM mqtt_credentials AS c
WHERE c.id = sqlc.arg(id)
  AND EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled
                AND (p.role IN ('owner', 'admin') OR (c.kind = 'user' AND c.user_id = p.id)))
RETURNING *;

-- name: ListMQTTCredentials :many
SELECT * FROM mqtt_credentials ORDER BY username;

-- name: RemoveMQTTCredential :one
DELETE FROM mqtt_credentials WHERE id = sqlc.arg(ref) OR username = sqlc.arg(ref) RETURNING *;

-- name: CountMQTTCredentials :one
SELECT count(*) FROM mqtt_credentials;

-- Rules name what is there: those of what was removed go with it.
-- name: DropMQTTRulesOf :exec
DELETE FROM mqtt_rules WHERE subject = sqlc.arg(subject);

-- name: PolicyMQTTCredentials :many
SELECT id, kind, username, device_id, user_id, thing, expires_at FROM mqtt_credentials;

-- name: AddMQTTRule :one
INSERT INTO mqtt_rules (id, subject, access, filter, created_at)
VALUES (sqlc.arg(id), sqlc.arg(subject), sqlc.arg(access), sqlc.arg(filter), sqlc.arg(created_at))
RETURNING *;

-- name: RemoveMQTTRule :one
DELETE FROM mqtt_rules WHERE id = sqlc.arg(id) RETURNING *;

-- name: MQTTRules :many
SELECT * FROM mqtt_rules ORDER BY created_at, id;

-- name: CountMQTTRules :one
SELECT count(*) FROM mqtt_rules;

-- name: SaveMQTTTemplate :one
INSERT INTO mqtt_templates (id, user_id, name, message, created_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(name), sqlc.arg(message), sqlc.arg(created_at))
ON CONFLICT (user_id, name) DO UPDATE SET message = excluded.message
RETURNING *;

-- name: ListMQTTTemplatesFor :many
SELECT * FROM mqtt_templates WHERE user_id = sqlc.arg(principal) ORDER BY name;

-- name: RemoveMQTTTemplateFor :execrows
DELETE FROM mqtt_templates WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(principal);

-- name: CountMQTTTemplatesFor :one
SELECT count(*) FROM mqtt_templates WHERE user_id = sqlc.arg(principal);

-- name: SweepMQTTCredentials :exec
DELETE FROM mqtt_credentials WHERE expires_at <= sqlc.arg(before);

-- Of credentials that went with their device or user.
-- name: SweepMQTTRules :exec
DELETE FROM mqtt_rules
WHERE subject LIKE 'credential:%' AND substr(subject, 12) NOT IN (SELECT id FROM mqtt_credentials);
