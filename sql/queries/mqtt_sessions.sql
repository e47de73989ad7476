-- name: MQTTSessions :many
SELECT * FROM mqtt_sessions;

-- name: PutMQTTSession :exec
INSERT INTO mqtt_sessions (principal, client_id, state, disconnected_at)
VALUES (sqlc.arg(principal), sqlc.arg(client_id), sqlc.arg(state), sqlc.narg(disconnected_at))
ON CONFLICT (principal, client_id) DO UPDATE SET state = excluded.state, disconnected_at = excluded.disconnected_at;

-- name: RemoveMQTTSession :exec
DELETE FROM mqtt_sessions WHERE principal = sqlc.arg(principal) AND client_id = sqlc.arg(client_id);

-- name: MQTTSubscriptions :many
SELECT * FROM mqtt_subscriptions;

-- name: PutMQTTSubscription :exec
INSERT INTO mqtt_subscriptions (principal, client_id, filter, options)
VALUES (sqlc.arg(principal), sqlc.arg(client_id), sqlc.arg(filter), sqlc.arg(options))
ON CONFLICT (principal, client_id, filter) DO UPDATE SET options = excluded.options;

-- name: RemoveMQTTSubscription :exec
DELETE FROM mqtt_subscriptions WHERE principal = sqlc.arg(principal) AND client_id = sqlc.arg(client_id) AND filter = sqlc.arg(filter);

-- name: RemoveMQTTSubscriptions :exec
DELETE FROM mqtt_subscriptions WHERE principal = sqlc.arg(principal) AND client_id = sqlc.arg(client_id);

-- name: MQTTInflight :many
SELECT * FROM mqtt_inflight ORDER BY position;

-- name: PutMQTTInflight :exec
INSERT INTO mqtt_inflight (principal, client_id, incoming, packet_id, position, released, packet, sender, at, expires_at)
VALUES (sqlc.arg(principal), sqlc.arg(client_id), sqlc.arg(incoming), sqlc.arg(packet_id), sqlc.arg(position), sqlc.arg(released),
    sqlc.arg(packet), sqlc.arg(sender), sqlc.arg(at), sqlc.narg(expires_at))
ON CONFLICT (principal, client_id, incoming, packet_id) DO UPDATE SET position = excluded.position, released = excluded.released,
    packet = excluded.packet, sender = excluded.sender, at = excluded.at, expires_at = excluded.expires_at;

-- name: RemoveMQTTInflight :exec
DELETE FROM mqtt_inflight WHERE principal = sqlc.arg(principal) AND client_id = sqlc.arg(client_id)
    AND incoming = sqlc.arg(incoming) AND packet_id = sqlc.arg(packet_id);

-- name: RemoveMQTTInflights :exec
DELETE FROM mqtt_inflight WHERE principal = sqlc.arg(principal) AND client_id = sqlc.arg(client_id);

-- name: MQTTRetained :many
SELECT * FROM mqtt_retained ORDER BY topic;

-- name: PutMQTTRetained :exec
INSERT INTO mqtt_retained (topic, payload, qos, properties, sender, owner, at, expires_at)
VALUES (sqlc.arg(topic), sqlc.arg(payload), sqlc.arg(qos), sqlc.arg(properties), sqlc.arg(sender), sqlc.arg(owner), sqlc.arg(at), sqlc.narg(expires_at))
ON CONFLICT (topic) DO UPDATE SET payload = excluded.payload, qos = excluded.qos, properties = excluded.properties,
    sender = excluded.sender, owner = excluded.owner, at = excluded.at, expires_at = excluded.expires_at;

-- name: RemoveMQTTRetained :exec
DELETE FROM mqtt_retained WHERE topic = sqlc.arg(topic);
