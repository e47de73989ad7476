import { expect, test } from 'vitest';
import { expiry } from './expiry';

const now = Date.parse('2026-01-01T00:00:00Z');
test.each([[undefined, 'no end'], ['2026-01-01T02:00:00Z', '2 h left'], ['2026-01-01T00:00:00Z', 'expired'], ['2025-12-31T00:00:00Z', 'expired']])('%s: %s', (time, want) => {
  expect(expiry(time, now)).toBe(want);
});
