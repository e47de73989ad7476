-- +goose Up
-- Sources name their device by id, so that one that is renamed stays the same.
UPDATE hook_sources SET settings = json_set(settings, '$.action.device',
    (SELECT d.id FROM devices AS d WHERE d.name = json_extract(hook_sources.settings, '$.action.device')))
WHERE json_valid(settings) AND json_extract(settings, '$.action.device') IN (SELECT d.name FROM devices AS d);

-- +goose Down
SELECT 'There is no way back: restore a backup.';
