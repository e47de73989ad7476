-- name: CreateHookEndpoint :exec
INSERT INTO hook_endpoints (id, name, url, events, topics, devices, format, transform_kind, transform, headers, signature, mode, rate,
    concurrency, timeout_ms, state, created_at)
VALUES (sqlc.arg(id), sqlc.arg(name), sqlc.arg(url), sqlc.arg(events), sqlc.arg(topics), sqlc.arg(devices), sqlc.arg(format),
    sqlc.arg(transform_kind), sqlc.arg(transform), sqlc.arg(headers), sqlc.arg(signature), sqlc.arg(mode), sqlc.arg(rate),
    sqlc.arg(concurrency), sqlc.arg(timeout_ms), sqlc.arg(state), sqlc.arg(created_at));

-- name: CreateHookEndpointHealth :exec
INSERT INTO hook_endpoint_health (endpoint_id) VALUES (sqlc.arg(endpoint_id));

-- name: ChangeHookEndpoint :exec
UPDATE hook_endpoints SET name = sqlc.arg(name), url = sqlc.arg(url), events = sqlc.arg(events), topics = sqlc.arg(topics),
    devices = sqlc.arg(devices), format = sqlc.arg(format), transform_kind = sqlc.arg(transform_kind), transform = sqlc.arg(transform),
    headers = sqlc.arg(headers), mode = sqlc.arg(mode), rate = sqlc.arg(rate), concurrency = sqlc.arg(concurrency),
    timeout_ms = sqlc.arg(timeout_ms), state = sqlc.arg(state), disabled_reason = sqlc.arg(disabled_reason)
WHERE id = sqlc.arg(id);

-- name: DisableHookEndpoint :exec
UPDATE hook_endpoints SET state = 'disabled', disabled_reason = sqlc.arg(disabled_reason) WHERE id = sqlc.arg(id) AND state <> 'removed';

-- A removed one leaves its name to others.
-- name: RemoveHookEndpoint :exec
UPDATE hook_endpoints SET state = 'removed', name = id, headers = '', url = '' WHERE id = sqlc.arg(id) AND state <> 'removed';

-- name: DropHookEndpoint :exec
DELETE FROM hook_endpoints WHERE id = sqlc.arg(id) AND state = 'removed';

-- name: HookEndpoints :many
SELECT sqlc.embed(e), sqlc.embed(h) FROM hook_endpoints AS e JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id ORDER BY e.name;

-- name: FindHookEndpoint :one
SELECT sqlc.embed(e), sqlc.embed(h) FROM hook_endpoints AS e JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE (e.id = sqlc.arg(ref) OR e.name = sqlc.arg(ref)) AND e.state <> 'removed';

-- name: HookEndpointState :one
SELECT e.state, e.url, o.version, sqlc.embed(h) FROM hook_endpoints AS e JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
JOIN hook_outgoing AS o ON o.id = 1 WHERE e.id = sqlc.arg(id);

-- name: AddHookEndpointSecret :exec
INSERT INTO hook_endpoint_secrets (id, endpoint_id, sealed, hint, created_at)
VALUES (sqlc.arg(id), sqlc.arg(endpoint_id), sqlc.arg(sealed), sqlc.arg(hint), sqlc.arg(created_at));

-- The current one is the one without an end, whatever the clock was when it was made.
-- name: HookEndpointSecrets :many
SELECT * FROM hook_endpoint_secrets ORDER BY expires_at IS NULL DESC, created_at DESC, id DESC;

-- name: ExpireHookEndpointSecrets :exec
UPDATE hook_endpoint_secrets SET expires_at = sqlc.arg(expires_at) WHERE endpoint_id = sqlc.arg(endpoint_id) AND expires_at IS NULL;

-- name: DropHookEndpointSecrets :exec
DELETE FROM hook_endpoint_secrets WHERE endpoint_id = sqlc.arg(endpoint_id);

-- name: SweepHookEndpointSecrets :execrows
DELETE FROM hook_endpoint_secrets WHERE expires_at <= sqlc.arg(before);

-- name: LimitHookEndpointSecrets :exec
DELETE FROM hook_endpoint_secrets AS o WHERE o.endpoint_id = sqlc.arg(endpoint_id) AND o.id NOT IN
    (SELECT s.id FROM hook_endpoint_secrets AS s WHERE s.endpoint_id = sqlc.arg(endpoint_id)
    ORDER BY s.expires_at IS NULL DESC, s.created_at DESC, s.id DESC LIMIT sqlc.arg(at_most));

-- name: HookOutgoing :one
SELECT version, event_cursor FROM hook_outgoing WHERE id = 1;

-- name: RaiseHookVersion :exec
UPDATE hook_outgoing SET version = version + 1 WHERE id = 1;

-- name: SetHookCursor :exec
UPDATE hook_outgoing SET event_cursor = sqlc.arg(event_cursor) WHERE id = 1;

-- name: HookEndpointHours :many
SELECT endpoint_id, CAST(sum(delivered) AS BIGINT) AS delivered, CAST(sum(failed) AS BIGINT) AS failed
FROM hook_endpoint_hours WHERE hour > sqlc.arg(after) GROUP BY endpoint_id;

-- name: CountHookAttempt :exec
INSERT INTO hook_endpoint_hours (endpoint_id, hour, delivered, failed)
VALUES (sqlc.arg(endpoint_id), sqlc.arg(hour), sqlc.arg(delivered), sqlc.arg(failed))
ON CONFLICT (endpoint_id, hour) DO UPDATE SET delivered = hook_endpoint_hours.delivered + excluded.delivered,
    failed = hook_endpoint_hours.failed + excluded.failed;

-- name: SweepHookHours :exec
DELETE FROM hook_endpoint_hours WHERE hour < sqlc.arg(before);

-- name: AddHookMessage :exec
INSERT INTO hook_messages (id, type, at, device_id, device_name, user_id, topic, content_type, details, payload, hops)
VALUES (sqlc.arg(id), sqlc.arg(type), sqlc.arg(at), sqlc.narg(device_id), sqlc.arg(device_name), sqlc.narg(user_id), sqlc.arg(topic),
    sqlc.arg(content_type), sqlc.arg(details), sqlc.arg(payload), sqlc.arg(hops));

-- name: GetHookMessage :one
SELECT * FROM hook_messages WHERE id = sqlc.arg(id);

-- It is added where its endpoint is there still; in order behind what is not finished of its key.
-- name: AddHookDelivery :execrows
INSERT INTO hook_deliveries (id, position, message_id, endpoint_id, type, device_id, topic, order_key, state, next_at, bytes, replay_of, created_at)
SELECT sqlc.arg(id), (SELECT coalesce(max(p.position), 0) + 1 FROM hook_deliveries AS p), sqlc.arg(message_id), e.id, sqlc.arg(type),
    sqlc.narg(device_id), sqlc.arg(topic), sqlc.narg(order_key),
    CASE WHEN EXISTS (SELECT 1 FROM hook_deliveries AS o WHERE o.endpoint_id = sqlc.arg(endpoint_id) AND o.order_key = sqlc.narg(order_key)
            AND o.state IN ('behind', 'waiting', 'sending')) THEN 'behind' ELSE 'waiting' END,
    sqlc.arg(next_at), sqlc.arg(bytes), sqlc.narg(replay_of), sqlc.arg(created_at)
FROM hook_endpoints AS e WHERE e.id = sqlc.arg(endpoint_id) AND e.state <> 'removed';

-- name: GrowHookQueue :exec
UPDATE hook_endpoint_health SET waiting = waiting + 1, waiting_bytes = waiting_bytes + sqlc.arg(bytes) WHERE endpoint_id = sqlc.arg(endpoint_id);

-- name: ClaimHookDelivery :one
UPDATE hook_deliveries SET state = 'sending', lease_owner = sqlc.arg(lease_owner), lease_token = sqlc.arg(lease_token), lease_until = sqlc.arg(lease_until)
WHERE id = (SELECT d.id FROM hook_deliveries AS d WHERE d.endpoint_id = sqlc.arg(endpoint_id) AND d.state = 'waiting' AND d.next_at <= sqlc.arg(now)
    ORDER BY d.next_at, d.position LIMIT 1)
RETURNING *;

-- It goes before those of its endpoint that are due already.
-- name: TryHookDelivery :exec
UPDATE hook_deliveries SET next_at = (
    SELECT min(CAST(sqlc.arg(now) AS BIGINT), coalesce(min(d.next_at) - 1, CAST(sqlc.arg(now) AS BIGINT))) FROM hook_deliveries AS d
    WHERE d.endpoint_id = sqlc.arg(endpoint_id) AND d.state = 'waiting' AND d.next_at <= CAST(sqlc.arg(now) AS BIGINT))
WHERE hook_deliveries.id = sqlc.arg(id) AND hook_deliveries.state = 'waiting';

-- What is due later than it can be was queued or tried by a clock that was ahead.
-- name: HurryHookDeliveries :exec
UPDATE hook_deliveries SET next_at = sqlc.arg(now)
WHERE endpoint_id IN (SELECT e.id FROM hook_endpoints AS e) AND state = 'waiting' AND next_at > sqlc.arg(latest);

-- name: NextHookDue :one
SELECT d.next_at FROM hook_deliveries AS d WHERE d.endpoint_id = sqlc.arg(endpoint_id) AND d.state = 'waiting' ORDER BY d.next_at LIMIT 1;

-- name: FinishHookDelivery :execrows
UPDATE hook_deliveries SET state = sqlc.arg(state), attempts = sqlc.arg(attempts), next_at = sqlc.arg(next_at), lease_owner = NULL,
    lease_token = NULL, lease_until = NULL, last_status = sqlc.narg(last_status), last_error = sqlc.arg(last_error),
    took_ms = sqlc.narg(took_ms), bytes = bytes + sqlc.arg(more_bytes), finished_at = sqlc.narg(finished_at)
WHERE id = sqlc.arg(id) AND state = 'sending' AND lease_token = sqlc.arg(lease_token);

-- name: ReleaseHookDelivery :execrows
UPDATE hook_deliveries SET state = 'waiting', lease_owner = NULL, lease_token = NULL, lease_until = NULL
WHERE id = sqlc.arg(id) AND state = 'sending' AND lease_token = sqlc.arg(lease_token);

-- name: ReturnHookLeases :execrows
UPDATE hook_deliveries SET state = 'waiting', lease_owner = NULL, lease_token = NULL, lease_until = NULL
WHERE lease_until IS NOT NULL AND lease_until < sqlc.arg(before);

-- name: EndHookDelivery :one
UPDATE hook_deliveries SET state = sqlc.arg(state), last_error = sqlc.arg(last_error), next_at = sqlc.arg(finished_at), finished_at = sqlc.arg(finished_at)
WHERE id = sqlc.arg(id) AND state IN ('waiting', 'behind') RETURNING bytes;

-- It was due when it was queued; by a clock that was ahead then that may be years from now.
-- name: PromoteHookDelivery :exec
UPDATE hook_deliveries SET state = 'waiting', next_at = min(next_at, CAST(sqlc.arg(now) AS BIGINT))
WHERE id = (SELECT d.id FROM hook_deliveries AS d WHERE d.endpoint_id = sqlc.arg(endpoint_id) AND d.order_key = sqlc.arg(order_key) AND d.state = 'behind'
    AND NOT EXISTS (SELECT 1 FROM hook_deliveries AS h WHERE h.endpoint_id = sqlc.arg(endpoint_id) AND h.order_key = sqlc.arg(order_key)
        AND h.state IN ('waiting', 'sending'))
    ORDER BY d.position LIMIT 1);

-- An open breaker lets the next one through now.
-- name: ProbeHookEndpoint :exec
UPDATE hook_endpoint_health SET retry_at = min(retry_at, CAST(sqlc.arg(now) AS BIGINT))
WHERE endpoint_id = sqlc.arg(endpoint_id) AND breaker = 'open';

-- name: PutHookHealth :exec
UPDATE hook_endpoint_health SET breaker = sqlc.arg(breaker), opened = sqlc.arg(opened), retry_at = sqlc.arg(retry_at), failures = sqlc.arg(failures),
    failing_since = sqlc.narg(failing_since), window_at = sqlc.arg(window_at), window_attempts = sqlc.arg(window_attempts),
    window_failures = sqlc.arg(window_failures), last_at = sqlc.narg(last_at), last_error = sqlc.arg(last_error), waiting = sqlc.arg(waiting),
    waiting_bytes = sqlc.arg(waiting_bytes), kept = sqlc.arg(kept), kept_bytes = sqlc.arg(kept_bytes), dead = sqlc.arg(dead),
    refused = sqlc.arg(refused), refused_at = sqlc.arg(refused_at)
WHERE endpoint_id = sqlc.arg(endpoint_id);

-- name: AddHookAttempt :exec
INSERT INTO hook_attempts (delivery_id, number, at, took_ms, address, method, url, request_headers, request_body, body_of, status,
    response_headers, response_body, response_cut, error)
VALUES (sqlc.arg(delivery_id), sqlc.arg(number), sqlc.arg(at), sqlc.arg(took_ms), sqlc.arg(address), sqlc.arg(method), sqlc.arg(url),
    sqlc.arg(request_headers), sqlc.narg(request_body), sqlc.arg(body_of), sqlc.narg(status), sqlc.arg(response_headers),
    sqlc.arg(response_body), sqlc.arg(response_cut), sqlc.arg(error));

-- name: HookAttempts :many
SELECT * FROM hook_attempts WHERE delivery_id = sqlc.arg(delivery_id) ORDER BY number;

-- name: LastHookBody :one
SELECT number, request_body FROM hook_attempts WHERE delivery_id = sqlc.arg(delivery_id) AND request_body IS NOT NULL ORDER BY number DESC LIMIT 1;

-- name: GetHookDelivery :one
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.id = sqlc.arg(id) AND e.state <> 'removed';

-- The + has those that arrived read from the newest on.
-- name: LastDeliveredHook :one
SELECT d.id FROM hook_deliveries AS d WHERE d.state = 'delivered' AND d.finished_at IS NOT NULL AND +d.endpoint_id = sqlc.arg(endpoint_id)
ORDER BY d.finished_at DESC LIMIT 1;

-- What is asked for decides which of these lists it. An index of some states is used only where the query names them, and not by a parameter.
-- name: ListHookDeliveries :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.position > sqlc.arg(after) AND d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY d.position DESC LIMIT sqlc.arg(at_most);

-- name: ListHookDeliveriesOf :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.position > sqlc.arg(after) AND d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND d.endpoint_id = sqlc.arg(endpoint_id)
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY d.position DESC LIMIT sqlc.arg(at_most);

-- name: ListHookDeliveriesOfDevice :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.position > sqlc.arg(after) AND d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND (d.state = sqlc.arg(state) OR sqlc.arg(state) = '')
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND d.device_id = sqlc.arg(device_id)
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY d.position DESC LIMIT sqlc.arg(at_most);

-- name: ListHookDeliveriesOfType :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.position > sqlc.arg(after) AND d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND (d.state = sqlc.arg(state) OR sqlc.arg(state) = '')
    AND d.type = sqlc.arg(type) AND d.type <> 'mqtt.message'
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY d.position DESC LIMIT sqlc.arg(at_most);

-- name: ListWaitingHookDeliveries :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.finished_at IS NULL AND d.state IN ('waiting', 'behind') AND d.position > sqlc.arg(after) AND d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND (d.device_id = sqlc.arg(device_id) OR sqlc.arg(device_id) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY d.position DESC LIMIT sqlc.arg(at_most);

-- Of these there are few: they are found by their leases, and put in order.
-- name: ListSendingHookDeliveries :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.lease_until > 0 AND d.state = 'sending' AND +d.position > sqlc.arg(after) AND +d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND (d.device_id = sqlc.arg(device_id) OR sqlc.arg(device_id) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY +d.position DESC LIMIT sqlc.arg(at_most);

-- name: ListEndedHookDeliveries :many
SELECT sqlc.embed(d), e.name AS endpoint_name, e.state AS endpoint_state, e.mode AS endpoint_mode, h.breaker
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id JOIN hook_endpoint_health AS h ON h.endpoint_id = e.id
WHERE d.finished_at IS NOT NULL AND d.position > sqlc.arg(after) AND d.position < sqlc.arg(before) AND e.state <> 'removed'
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND d.state = sqlc.arg(state)
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND (d.device_id = sqlc.arg(device_id) OR sqlc.arg(device_id) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
ORDER BY d.position DESC LIMIT sqlc.arg(at_most);

-- Those that are finished, and of which nothing waits: again would be twice. Of dead ones those that did not arrive later.
-- name: HookDeliveriesToReplay :many
SELECT d.id, d.position, d.message_id, d.endpoint_id
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id
WHERE d.position > sqlc.arg(after) AND d.position <= sqlc.arg(up_to) AND e.state <> 'removed' AND d.finished_at IS NOT NULL
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND (d.device_id = sqlc.arg(device_id) OR sqlc.arg(device_id) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
    AND NOT EXISTS (SELECT 1 FROM hook_deliveries AS x WHERE x.message_id = d.message_id AND +x.endpoint_id = d.endpoint_id
        AND (x.finished_at IS NULL OR (d.state = 'dead' AND x.state = 'delivered' AND x.position > d.position)))
ORDER BY d.position LIMIT sqlc.arg(at_most);

-- The same in one state.
-- name: HookDeliveriesToReplayIn :many
SELECT d.id, d.position, d.message_id, d.endpoint_id
FROM hook_deliveries AS d JOIN hook_endpoints AS e ON e.id = d.endpoint_id
WHERE d.position > sqlc.arg(after) AND d.position <= sqlc.arg(up_to) AND e.state <> 'removed' AND d.finished_at IS NOT NULL AND d.state = sqlc.arg(state)
    AND (d.endpoint_id = sqlc.arg(endpoint_id) OR sqlc.arg(endpoint_id) = '')
    AND ((d.type >= sqlc.arg(type_from) AND d.type < sqlc.arg(type_to)) OR sqlc.arg(type_from) = '')
    AND (d.device_id = sqlc.arg(device_id) OR sqlc.arg(device_id) = '')
    AND d.created_at >= sqlc.arg(since) AND d.created_at < sqlc.arg(until)
    AND NOT EXISTS (SELECT 1 FROM hook_deliveries AS x WHERE x.message_id = d.message_id AND +x.endpoint_id = d.endpoint_id
        AND (x.finished_at IS NULL OR (d.state = 'dead' AND x.state = 'delivered' AND x.position > d.position)))
ORDER BY d.position LIMIT sqlc.arg(at_most);

-- Whether a message waits for an endpoint, or was queued for it behind a position.
-- name: HookQueuedAgain :one
SELECT count(*) > 0 AS queued FROM hook_deliveries AS x
WHERE x.message_id = sqlc.arg(message_id) AND +x.endpoint_id = sqlc.arg(endpoint_id) AND (x.finished_at IS NULL OR x.position > sqlc.arg(after));

-- name: HookPositions :one
SELECT CAST(coalesce((SELECT min(f.position) FROM hook_deliveries AS f), 0) AS BIGINT) AS first_position,
    CAST(coalesce((SELECT max(l.position) FROM hook_deliveries AS l), 0) AS BIGINT) AS last_position;

-- name: HookDeliveryTime :one
SELECT created_at FROM hook_deliveries WHERE position >= sqlc.arg(position) ORDER BY position LIMIT 1;

-- name: LastHookPosition :one
SELECT CAST(coalesce(max(position), 0) AS BIGINT) AS position FROM hook_deliveries;

-- name: FinishedHookDeliveries :many
SELECT d.id, d.message_id, d.endpoint_id, d.bytes, d.state FROM hook_deliveries AS d
WHERE d.state = sqlc.arg(state) AND d.finished_at IS NOT NULL AND d.finished_at < sqlc.arg(before) ORDER BY d.finished_at LIMIT sqlc.arg(at_most);

-- name: OldHookDeliveries :many
SELECT * FROM hook_deliveries WHERE finished_at IS NULL
    AND (created_at < sqlc.arg(before_leap) OR created_at > sqlc.arg(leapt_at) AND created_at < sqlc.arg(before))
ORDER BY position LIMIT sqlc.arg(at_most);

-- name: HookDeliveriesOf :many
SELECT id, message_id FROM hook_deliveries WHERE endpoint_id = sqlc.arg(endpoint_id) LIMIT sqlc.arg(at_most);

-- name: DropHookDelivery :execrows
DELETE FROM hook_deliveries WHERE id = sqlc.arg(id);

-- name: DropHookMessage :exec
DELETE FROM hook_messages AS m WHERE m.id = sqlc.arg(id) AND NOT EXISTS (SELECT 1 FROM hook_deliveries AS d WHERE d.message_id = m.id);

-- name: OldestOpenHook :one
SELECT CAST(coalesce((SELECT d.created_at FROM hook_deliveries AS d WHERE d.finished_at IS NULL ORDER BY d.position LIMIT 1), 0) AS BIGINT) AS created_at;

-- name: HookHealths :many
SELECT * FROM hook_endpoint_health;

-- name: AddHookRefused :exec
UPDATE hook_endpoint_health SET refused = refused + 1 WHERE endpoint_id = sqlc.arg(endpoint_id);

-- name: TellHookRefused :one
UPDATE hook_endpoint_health SET refused_at = sqlc.arg(now) WHERE endpoint_id = sqlc.arg(endpoint_id) AND (refused_at < sqlc.arg(before) OR refused_at > sqlc.arg(now))
RETURNING refused;

-- name: RemovedHookEndpoints :many
SELECT id FROM hook_endpoints WHERE state = 'removed';

-- name: ShrinkHookKept :exec
UPDATE hook_endpoint_health SET kept = kept - sqlc.arg(kept), kept_bytes = kept_bytes - sqlc.arg(bytes), dead = dead - sqlc.arg(dead)
WHERE endpoint_id = sqlc.arg(endpoint_id);
