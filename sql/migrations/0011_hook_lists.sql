-- +goose Up
-- Lists of requests and deliveries by what is rare among many, without reading all of them. An index has in it what else is mostly asked for, so that a row
-- is read only where it is shown. Indexes that change with each step of a delivery hold one state instead of all: with that, accepting and delivering cost
-- what they did.

-- Those of a source; and all counted, with their bytes, which would read each body else.
DROP INDEX hook_requests_source;
CREATE INDEX hook_requests_source ON hook_requests (source_id, number, bytes);
CREATE INDEX hook_requests_waiting ON hook_requests (number, source_id, at) WHERE state = 'waiting';
CREATE INDEX hook_requests_failed ON hook_requests (number, source_id, at) WHERE state = 'failed';

-- The next one that is due.
DROP INDEX hook_deliveries_due;
CREATE INDEX hook_deliveries_due ON hook_deliveries (endpoint_id, next_at, position) WHERE state = 'waiting';
-- Those of an endpoint.
CREATE INDEX hook_deliveries_endpoint ON hook_deliveries (endpoint_id, position);
-- Those that concern a device, and those of a type, but for MQTT messages, which are most where there are any.
CREATE INDEX hook_deliveries_device ON hook_deliveries (device_id, position) WHERE device_id IS NOT NULL;
CREATE INDEX hook_deliveries_type ON hook_deliveries (type, position) WHERE type <> 'mqtt.message';
-- Those that are not finished, in the order of queueing.
DROP INDEX hook_deliveries_open;
CREATE INDEX hook_deliveries_open ON hook_deliveries (position, endpoint_id, created_at) WHERE finished_at IS NULL;
-- Those that ended in a state, in the order of queueing, and in that of ending.
CREATE INDEX hook_deliveries_ended ON hook_deliveries (state, position, endpoint_id) WHERE finished_at IS NOT NULL;
DROP INDEX hook_deliveries_finished;
CREATE INDEX hook_deliveries_finished ON hook_deliveries (state, finished_at, endpoint_id) WHERE finished_at IS NOT NULL;

-- +goose Down
SELECT 'There is no way back: restore a backup.';
