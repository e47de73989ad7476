-- name: AddRootPassword :exec
INSERT INTO root_passwords (id, device_id, sealed, state, created_at)
VALUES (sqlc.arg(id), sqlc.arg(device_id), sqlc.arg(sealed), 'pending', sqlc.arg(created_at));

-- name: RootPasswords :many
SELECT * FROM root_passwords WHERE device_id = sqlc.arg(device_id) ORDER BY created_at, id;

-- name: ActivateRootPassword :exec
UPDATE root_passwords SET state = 'active' WHERE id = sqlc.arg(id);

-- name: DropOtherRootPasswords :exec
DELETE FROM root_passwords WHERE device_id = sqlc.arg(device_id) AND id <> sqlc.arg(kept);

-- name: DropRootPassword :exec
DELETE FROM root_passwords WHERE id = sqlc.arg(id);

-- name: DropRootPasswords :exec
DELETE FROM root_passwords WHERE device_id = sqlc.arg(device_id);

-- name: ShowRootPasswords :exec
UPDATE root_passwords SET shown_at = sqlc.arg(shown_at) WHERE device_id = sqlc.arg(device_id);

-- name: SetRootPasswordDue :exec
UPDATE devices SET root_password_due = sqlc.arg(due) WHERE id = sqlc.arg(id);

-- name: DevicesDueRootPassword :many
SELECT id FROM devices WHERE root_password_due AND status = 'active' AND via = 'agent';
