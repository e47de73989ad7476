-- +goose Up
-- On whose account a retained message is: a principal's (a thing's is its device's), 'by NAME' for who is no MQTT client, '' for nobody's.
-- Of those from before this column the topic tells, where it is in a device's own tree.
ALTER TABLE mqtt_retained ADD COLUMN owner TEXT NOT NULL DEFAULT '';
UPDATE mqtt_retained SET owner = COALESCE((SELECT devices.id FROM devices WHERE mqtt_retained.topic LIKE 'devices/' || devices.name || '/%'), '');

-- +goose Down
SELECT 'There is no way back: restore a backup.';
