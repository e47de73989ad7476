-- name: TunnelKeys :many
SELECT name, sealed, created_at FROM secrets
WHERE name IN ('tunnel_key', 'tunnel_key_next', 'tunnel_key_previous') ORDER BY name;

-- name: RenewSecret :exec
INSERT INTO secrets (name, sealed, created_at) VALUES (sqlc.arg(name), sqlc.arg(sealed), sqlc.arg(created_at))
ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at;

-- name: DropSecret :execrows
DELETE FROM secrets WHERE name = sqlc.arg(name);

-- name: DevicesHubKeys :many
SELECT id, name, hub_keys, agent_version, last_seen_at FROM devices WHERE via = 'agent' ORDER BY name;

-- name: DevicesWithOtherHubKeys :many
SELECT id, public_key, hub_keys FROM devices
WHERE via = 'agent' AND status = 'active' AND hub_keys <> sqlc.arg(hub_keys) AND (hub_keys <> '' OR CAST(sqlc.arg(rotating) AS BIGINT) = 1);

-- name: FillDeviceHubKeys :exec
UPDATE devices SET hub_keys = sqlc.arg(hub_keys) WHERE hub_keys = '';

-- name: SetDeviceHubKeys :exec
UPDATE devices SET hub_keys = sqlc.arg(hub_keys) WHERE id = sqlc.arg(id) AND public_key = sqlc.arg(public_key);

-- name: CodesBefore :one
SELECT count(*) FROM install_codes
WHERE created_at < sqlc.arg(before) AND expires_at > sqlc.arg(now) AND revoked_at IS NULL AND used < uses;
