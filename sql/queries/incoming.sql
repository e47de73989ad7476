-- name: CreateHookSource :exec
INSERT INTO hook_sources (id, slug, name, settings, enabled, created_at)
VALUES (sqlc.arg(id), sqlc.arg(slug), sqlc.arg(name), sqlc.arg(settings), TRUE, sqlc.arg(created_at));

-- name: ChangeHookSource :exec
UPDATE hook_sources SET slug = sqlc.arg(slug), name = sqlc.arg(name), settings = sqlc.arg(settings), enabled = sqlc.arg(enabled)
WHERE id = sqlc.arg(id);

-- name: RemoveHookSource :execrows
DELETE FROM hook_sources WHERE id = sqlc.arg(id);

-- name: DropHookRequestsOf :execrows
DELETE FROM hook_requests WHERE number IN (SELECT r.number FROM hook_requests AS r WHERE r.source_id = sqlc.arg(source_id) LIMIT sqlc.arg(at_most));

-- name: DropHookSeenOf :execrows
DELETE FROM hook_seen AS d WHERE d.source_id = sqlc.arg(source_id) AND d.key IN (
    SELECT s.key FROM hook_seen AS s WHERE s.source_id = sqlc.arg(source_id) LIMIT sqlc.arg(at_most));

-- name: DisableHookSource :exec
UPDATE hook_sources SET enabled = FALSE WHERE id = sqlc.arg(id);

-- name: HookSources :many
SELECT * FROM hook_sources ORDER BY name, slug;

-- name: CountHookSources :one
SELECT count(*) FROM hook_sources;

-- name: FindHookSource :one
SELECT * FROM hook_sources WHERE id = sqlc.arg(ref) OR slug = sqlc.arg(ref);

-- name: AddHookSourceSecret :exec
INSERT INTO hook_source_secrets (id, source_id, sealed, hint, created_at)
VALUES (sqlc.arg(id), sqlc.arg(source_id), sqlc.arg(sealed), sqlc.arg(hint), sqlc.arg(created_at));

-- name: HookSourceSecrets :many
SELECT * FROM hook_source_secrets ORDER BY created_at DESC, id DESC;

-- The current secret ends with the others, at the latest.
-- name: EndHookSourceSecrets :exec
UPDATE hook_source_secrets SET expires_at = min(coalesce(expires_at, CAST(sqlc.arg(until) AS BIGINT)), CAST(sqlc.arg(until) AS BIGINT))
WHERE source_id = sqlc.arg(source_id);

-- name: SweepHookSourceSecrets :exec
DELETE FROM hook_source_secrets WHERE expires_at <= sqlc.arg(before);

-- name: AcceptHookRequest :exec
INSERT INTO hook_requests (id, source_id, at, method, path, address, content_type, bytes, key, state, next_at, owner, expires_at,
                           topic, device_id, plan, headers, body, payload, kept)
VALUES (sqlc.arg(id), sqlc.arg(source_id), sqlc.arg(at), sqlc.arg(method), sqlc.arg(path), sqlc.arg(address),
        sqlc.arg(content_type), sqlc.arg(bytes), sqlc.arg(key), sqlc.arg(state), sqlc.arg(next_at), sqlc.arg(owner), sqlc.narg(expires_at),
        sqlc.arg(topic), sqlc.arg(device_id), sqlc.arg(plan), sqlc.arg(headers), sqlc.arg(body), sqlc.narg(payload),
        sqlc.arg(kept));

-- name: CountHookAccepted :exec
UPDATE hook_sources SET accepted = accepted + 1, last_at = sqlc.arg(at) WHERE id = sqlc.arg(id);

-- A key that was seen long ago counts as new.
-- name: SeeHookKey :execrows
INSERT INTO hook_seen (source_id, key, request_id, at, expires_at)
VALUES (sqlc.arg(source_id), sqlc.arg(key), sqlc.arg(request_id), sqlc.arg(at), sqlc.arg(expires_at))
ON CONFLICT (source_id, key) DO UPDATE SET request_id = excluded.request_id, at = excluded.at, expires_at = excluded.expires_at
WHERE hook_seen.expires_at <= excluded.at;

-- name: SeenHookKey :one
SELECT request_id FROM hook_seen WHERE source_id = sqlc.arg(source_id) AND key = sqlc.arg(key) AND expires_at > sqlc.arg(now);

-- name: SweepHookSeen :execrows
DELETE FROM hook_seen WHERE (source_id, key) IN (
    SELECT s.source_id, s.key FROM hook_seen AS s WHERE s.expires_at <= sqlc.arg(before) ORDER BY s.expires_at LIMIT sqlc.arg(at_most));

-- name: CountHookRepeat :exec
UPDATE hook_requests SET repeats = repeats + 1 WHERE id = sqlc.arg(id);

-- name: GetHookRequest :one
SELECT * FROM hook_requests WHERE id = sqlc.arg(id);

-- What has come, without bodies.
-- name: ListHookRequests :many
SELECT number, id, source_id, at, method, path, address, content_type, bytes, key, repeats, state, attempts, next_at, owner,
       error, topic, device_id, status, exit_code, took_ms
FROM hook_requests
WHERE number > sqlc.arg(after) AND number < sqlc.arg(before)
  AND (CAST(sqlc.arg(state) AS TEXT) = '' OR state = sqlc.arg(state))
  AND at >= sqlc.arg(since) AND at < sqlc.arg(until)
ORDER BY number DESC LIMIT sqlc.arg(at_most);

-- name: ListHookRequestsOf :many
SELECT number, id, source_id, at, method, path, address, content_type, bytes, key, repeats, state, attempts, next_at, owner,
       error, topic, device_id, status, exit_code, took_ms
FROM hook_requests
WHERE number > sqlc.arg(after) AND number < sqlc.arg(before) AND source_id = sqlc.arg(source_id)
  AND (CAST(sqlc.arg(state) AS TEXT) = '' OR state = sqlc.arg(state))
  AND at >= sqlc.arg(since) AND at < sqlc.arg(until)
ORDER BY number DESC LIMIT sqlc.arg(at_most);

-- An index of one state is used only where the query names it, and not by a parameter.
-- name: ListWaitingHookRequests :many
SELECT number, id, source_id, at, method, path, address, content_type, bytes, key, repeats, state, attempts, next_at, owner,
       error, topic, device_id, status, exit_code, took_ms
FROM hook_requests
WHERE state = 'waiting' AND number > sqlc.arg(after) AND number < sqlc.arg(before)
  AND (CAST(sqlc.arg(source_id) AS TEXT) = '' OR source_id = sqlc.arg(source_id))
  AND at >= sqlc.arg(since) AND at < sqlc.arg(until)
ORDER BY number DESC LIMIT sqlc.arg(at_most);

-- name: ListFailedHookRequests :many
SELECT number, id, source_id, at, method, path, address, content_type, bytes, key, repeats, state, attempts, next_at, owner,
       error, topic, device_id, status, exit_code, took_ms
FROM hook_requests
WHERE state = 'failed' AND number > sqlc.arg(after) AND number < sqlc.arg(before)
  AND (CAST(sqlc.arg(source_id) AS TEXT) = '' OR source_id = sqlc.arg(source_id))
  AND at >= sqlc.arg(since) AND at < sqlc.arg(until)
ORDER BY number DESC LIMIT sqlc.arg(at_most);

-- name: HookRequestNumbers :one
SELECT CAST(coalesce((SELECT min(f.number) FROM hook_requests AS f), 0) AS BIGINT) AS first_number,
    CAST(coalesce((SELECT max(l.number) FROM hook_requests AS l), 0) AS BIGINT) AS last_number;

-- name: HookRequestTime :one
SELECT at FROM hook_requests WHERE number >= sqlc.arg(number) ORDER BY number LIMIT 1;

-- What comes next, without bodies, and how many bytes those have.
-- name: HookRequestsAfter :many
SELECT number, id, CAST(bytes + coalesce(length(payload), 0) + coalesce(length(answer), 0) AS BIGINT) AS size
FROM hook_requests WHERE source_id = sqlc.arg(source_id) AND number > sqlc.arg(after) ORDER BY number LIMIT sqlc.arg(at_most);

-- name: LastHookRequest :one
SELECT CAST(coalesce(max(number), 0) AS BIGINT) AS last_number FROM hook_requests WHERE source_id = sqlc.arg(source_id);

-- What is due becomes the caller's until the lease ends: of a request with an owner next_at is the end of its lease.
-- name: ClaimHookRequests :many
UPDATE hook_requests SET owner = sqlc.arg(owner), next_at = sqlc.arg(lease_until)
WHERE number IN (SELECT w.number FROM hook_requests AS w WHERE w.state = 'waiting' AND w.next_at <= sqlc.arg(now)
                 ORDER BY w.next_at LIMIT sqlc.arg(at_most))
RETURNING id, bytes;

-- name: NextHookRequest :one
SELECT next_at FROM hook_requests WHERE state = 'waiting' ORDER BY next_at LIMIT 1;

-- Of a request with an owner next_at is the end of its lease.
-- name: KeepHookLease :exec
UPDATE hook_requests SET next_at = sqlc.arg(lease_until)
WHERE id = sqlc.arg(id) AND state = 'waiting' AND owner = sqlc.arg(owner);

-- name: EndHookRequest :execrows
UPDATE hook_requests SET state = sqlc.arg(state), attempts = attempts + 1, error = sqlc.arg(error), owner = '', topic = sqlc.arg(topic)
WHERE id = sqlc.arg(id) AND state = 'waiting' AND owner = sqlc.arg(owner);

-- name: RetryHookRequest :execrows
UPDATE hook_requests SET attempts = attempts + sqlc.arg(tried), next_at = sqlc.arg(next_at), error = sqlc.arg(error), owner = ''
WHERE id = sqlc.arg(id) AND state = 'waiting' AND owner = sqlc.arg(owner);

-- The first answer counts.
-- name: AnswerHookRequest :execrows
UPDATE hook_requests SET status = sqlc.arg(status), answer_type = sqlc.arg(answer_type), answer = sqlc.arg(answer),
                         exit_code = sqlc.narg(exit_code), took_ms = sqlc.arg(took_ms), kept = kept + sqlc.arg(more)
WHERE id = sqlc.arg(id) AND status IS NULL;

-- It keeps another plan and payload, and no answer.
-- name: ReplayHookRequest :execrows
UPDATE hook_requests SET state = 'waiting', attempts = 0, error = '', owner = '', next_at = sqlc.arg(next_at),
                         expires_at = sqlc.narg(expires_at), topic = sqlc.arg(topic), device_id = sqlc.arg(device_id),
                         plan = sqlc.arg(plan), payload = sqlc.narg(payload), status = NULL, answer_type = '', answer = NULL,
                         exit_code = NULL, took_ms = NULL, replays = replays + sqlc.arg(anew),
                         kept = kept - length(CAST(plan AS BLOB)) - coalesce(length(payload), 0) - coalesce(length(answer), 0) + sqlc.arg(more)
WHERE id = sqlc.arg(id) AND state <> 'waiting';

-- A device came: what waits for it is due.
-- name: WakeHookRequests :exec
UPDATE hook_requests SET next_at = sqlc.arg(now)
WHERE device_id = sqlc.arg(device_id) AND device_id <> '' AND state = 'waiting' AND owner = '';

-- A device has room for another command: the oldest that was put off for want of it is due.
-- name: WakeNextHookRequest :exec
UPDATE hook_requests SET next_at = sqlc.arg(now)
WHERE number IN (SELECT w.number FROM hook_requests AS w
                 WHERE w.device_id = sqlc.arg(device_id) AND w.device_id <> '' AND w.state = 'waiting' AND w.owner = '' AND w.attempts = 0
                   AND w.next_at > sqlc.arg(now)
                 ORDER BY w.number LIMIT 1);

-- The newest of those from before a time; in an index.
-- name: LastHookRequestBefore :one
SELECT CAST(coalesce(max(CASE WHEN at < sqlc.arg(before) THEN number END), 0) AS BIGINT) AS last_number FROM hook_requests;

-- Those from before a time, the newest of which is the last. One from the future, written while the clock was wrong, is as old where it came before it.
-- name: SweepHookRequests :execrows
DELETE FROM hook_requests WHERE number IN (
    SELECT o.number FROM hook_requests AS o
    WHERE o.number <= sqlc.arg(last) AND o.state <> 'waiting' AND (o.at < sqlc.arg(before) OR o.at > sqlc.arg(now))
    ORDER BY o.number LIMIT sqlc.arg(at_most));

-- What is due later than anything can be was put off while the clock was wrong, and is due now. What is worked on has time to have its lease prolonged.
-- name: HastenHookRequests :execrows
UPDATE hook_requests SET next_at = CASE WHEN owner = '' THEN CAST(sqlc.arg(now) AS BIGINT) ELSE CAST(sqlc.arg(lease_until) AS BIGINT) END
WHERE number IN (SELECT w.number FROM hook_requests AS w WHERE w.state = 'waiting' AND w.next_at > sqlc.arg(latest) LIMIT sqlc.arg(at_most));

-- name: HookRequestFigures :one
SELECT count(*) AS count, CAST(coalesce(sum(kept), 0) AS BIGINT) AS bytes,
    (SELECT count(*) FROM hook_requests AS w WHERE w.state = 'waiting') AS waiting,
    CAST(coalesce((SELECT sum(b.kept) FROM hook_requests AS b WHERE b.state = 'waiting'), 0) AS BIGINT) AS waiting_bytes
FROM hook_requests;

-- name: DropOldestHookRequests :execrows
DELETE FROM hook_requests WHERE number IN (
    SELECT o.number FROM hook_requests AS o WHERE o.state <> 'waiting' ORDER BY o.number LIMIT sqlc.arg(at_most));

-- name: DevicesOfWaitingHooks :many
SELECT DISTINCT device_id FROM hook_requests WHERE state = 'waiting' AND device_id <> '';
