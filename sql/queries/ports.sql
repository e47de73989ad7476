-- name: AddTCPPort :one
INSERT INTO tcp_ports (port, device_id, target, user_id, created_at)
VALUES (sqlc.arg(port), sqlc.arg(device_id), sqlc.arg(target), sqlc.arg(user_id), sqlc.arg(created_at))
RETURNING *;

-- name: TCPPorts :many
SELECT sqlc.embed(tcp_ports), devices.name AS device_name, users.handle AS user_handle
FROM tcp_ports JOIN devices ON devices.id = tcp_ports.device_id JOIN users ON users.id = tcp_ports.user_id
ORDER BY tcp_ports.port;

-- name: RemoveTCPPort :one
DELETE FROM tcp_ports WHERE port = sqlc.arg(port) RETURNING *;
