-- +goose Up
-- Grants by which the hub itself ends SSH.
ALTER TABLE grants ADD COLUMN strict BOOLEAN NOT NULL DEFAULT FALSE;

-- Where the device's SSH server listens, as its facts say; 0 where they do not. The policy reads it for every device.
ALTER TABLE devices ADD COLUMN ssh_port BIGINT NOT NULL DEFAULT 0;
UPDATE devices SET ssh_port = CAST(SUBSTR(json_extract(facts, '$.ssh.address'),
    LENGTH(RTRIM(json_extract(facts, '$.ssh.address'), '0123456789')) + 1) AS INTEGER)
WHERE json_valid(facts) AND json_extract(facts, '$.ssh.address') LIKE '%:%';

-- +goose Down
SELECT 'There is no way back: restore a backup.';
