-- name: CreateDevice :one
INSERT INTO devices (id, name, public_key, status, via, facts, ssh_port, agent_version, address, default_login, created_at)
VALUES (sqlc.arg(id), sqlc.arg(name), sqlc.arg(public_key), sqlc.arg(status), sqlc.arg(via), sqlc.arg(facts), sqlc.arg(ssh_port),
        sqlc.arg(agent_version), sqlc.arg(address), sqlc.arg(default_login), sqlc.arg(created_at))
RETURNING *;

-- name: ReplaceDevice :one
UPDATE devices SET public_key = sqlc.arg(public_key), status = sqlc.arg(status), via = sqlc.arg(via),
    facts = sqlc.arg(facts), ssh_port = sqlc.arg(ssh_port), address = sqlc.arg(address), clock_offset_ms = NULL, cause = ''
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: GetDevice :one
SELECT * FROM devices WHERE id = sqlc.arg(id);

-- name: DeviceByKey :one
SELECT * FROM devices WHERE public_key = sqlc.arg(public_key);

-- name: DeviceNameTaken :one
SELECT EXISTS (SELECT 1 FROM devices WHERE name = sqlc.arg(name)) AS taken;

-- name: GetDeviceFor :one
SELECT d.* FROM devices AS d
WHERE (d.id = sqlc.arg(ref) OR d.name = sqlc.arg(ref))
  AND EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled
                AND (p.role IN ('owner', 'admin')
                     OR EXISTS (SELECT 1 FROM grants AS g
                                WHERE g.user_id = p.id AND NOT g.deny
                                  AND (g.expires_at IS NULL OR g.expires_at > CAST(sqlc.arg(now) AS BIGINT))
                                  AND (g.device_id = d.id OR (g.device_id IS NULL AND g.tag IS NULL)
                                       OR EXISTS (SELECT 1 FROM device_tags AS t
                                                  WHERE t.device_id = d.id AND t.tag = g.tag)))));

-- name: ListDevicesFor :many
SELECT d.* FROM devices AS d
WHERE EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled
                AND (p.role IN ('owner', 'admin')
                     OR EXISTS (SELECT 1 FROM grants AS g
                                WHERE g.user_id = p.id AND NOT g.deny
                                  AND (g.expires_at IS NULL OR g.expires_at > CAST(sqlc.arg(now) AS BIGINT))
                                  AND (g.device_id = d.id OR (g.device_id IS NULL AND g.tag IS NULL)
                                       OR EXISTS (SELECT 1 FROM device_tags AS t
                                                  WHERE t.device_id = d.id AND t.tag = g.tag)))))
ORDER BY d.name;

-- name: KnownHostsFor :many
SELECT d.id, d.name, k.host_key FROM device_host_keys AS k JOIN devices AS d ON d.id = k.device_id
WHERE NOT k.pending
  AND EXISTS (SELECT 1 FROM users AS p
              WHERE p.id = sqlc.arg(principal) AND NOT p.disabled
                AND (p.role IN ('owner', 'admin')
                     OR EXISTS (SELECT 1 FROM grants AS g
                                WHERE g.user_id = p.id AND NOT g.deny
                                  AND (g.expires_at IS NULL OR g.expires_at > CAST(sqlc.arg(now) AS BIGINT))
                                  AND (g.device_id = d.id OR (g.device_id IS NULL AND g.tag IS NULL)
                                       OR EXISTS (SELECT 1 FROM device_tags AS t
                                                  WHERE t.device_id = d.id AND t.tag = g.tag)))))
ORDER BY d.name, k.host_key;

-- name: UpdateDevice :one
UPDATE devices SET name = sqlc.arg(name), default_login = sqlc.arg(default_login), ping_seconds = sqlc.arg(ping_seconds)
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: ApproveDevice :one
UPDATE devices SET status = 'active' WHERE id = sqlc.arg(id) RETURNING *;

-- name: RemoveDevice :execrows
DELETE FROM devices WHERE id = sqlc.arg(id);

-- name: SetFacts :exec
UPDATE devices SET facts = sqlc.arg(facts), ssh_port = sqlc.arg(ssh_port) WHERE id = sqlc.arg(id);

-- A clone stays one until a person says otherwise: either of the two machines may be the one that comes.
-- name: SetDeviceOnline :exec
UPDATE devices SET online_since = sqlc.arg(online_since), last_seen_at = sqlc.arg(last_seen_at), address = sqlc.arg(address),
    agent_version = sqlc.arg(agent_version), clock_offset_ms = sqlc.narg(clock_offset_ms),
    cause = CASE WHEN cause = 'clone' THEN cause ELSE '' END
WHERE id = sqlc.arg(id);

-- name: SetDeviceOffline :exec
UPDATE devices SET online_since = NULL, last_seen_at = sqlc.arg(last_seen_at) WHERE id = sqlc.arg(id);

-- name: SetDeviceSeen :exec
UPDATE devices SET last_seen_at = sqlc.arg(last_seen_at) WHERE id = sqlc.arg(id);

-- name: SetDeviceCause :exec
UPDATE devices SET cause = sqlc.arg(cause) WHERE id = sqlc.arg(id);

-- name: ForgetOnline :exec
UPDATE devices SET online_since = NULL WHERE online_since IS NOT NULL;

-- name: AddDeviceTag :exec
INSERT INTO device_tags (device_id, tag) VALUES (sqlc.arg(device_id), sqlc.arg(tag)) ON CONFLICT DO NOTHING;

-- name: DropDeviceTags :exec
DELETE FROM device_tags WHERE device_id = sqlc.arg(device_id);

-- name: DeviceTags :many
SELECT tag FROM device_tags WHERE device_id = sqlc.arg(device_id) ORDER BY tag;

-- name: PolicyDevices :many
SELECT id, name, status, ssh_port FROM devices;

-- name: PolicyTags :many
SELECT device_id, tag FROM device_tags ORDER BY device_id, tag;

-- name: HostKeys :many
SELECT * FROM device_host_keys WHERE device_id = sqlc.arg(device_id) ORDER BY pending, host_key;

-- name: PutHostKey :exec
INSERT INTO device_host_keys (device_id, host_key, fingerprint, pending, created_at)
VALUES (sqlc.arg(device_id), sqlc.arg(host_key), sqlc.arg(fingerprint), sqlc.arg(pending), sqlc.arg(created_at))
ON CONFLICT DO NOTHING;

-- name: MarkHostKey :exec
UPDATE device_host_keys SET reported = sqlc.arg(reported)
WHERE device_id = sqlc.arg(device_id) AND host_key = sqlc.arg(host_key);

-- name: DropUnreportedHostKeys :exec
DELETE FROM device_host_keys WHERE device_id = sqlc.arg(device_id) AND NOT reported;

-- name: AcceptHostKey :execrows
UPDATE device_host_keys SET pending = FALSE
WHERE device_id = sqlc.arg(device_id) AND fingerprint = sqlc.arg(fingerprint) AND pending;

-- name: DropHostKey :exec
DELETE FROM device_host_keys WHERE device_id = sqlc.arg(device_id) AND host_key = sqlc.arg(host_key);

-- name: DropHostKeys :exec
DELETE FROM device_host_keys WHERE device_id = sqlc.arg(device_id);

-- name: FindDevice :one
SELECT * FROM devices WHERE id = sqlc.arg(ref) OR name = sqlc.arg(ref);
