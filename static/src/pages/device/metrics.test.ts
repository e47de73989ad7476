import { expect, test } from 'vitest';
import { figuresOf, rate } from './metrics';

test.each([
  [100, 300, 2, 100], [undefined, 300, 2, undefined], [100, undefined, 2, undefined],
  [300, 100, 2, undefined], [100, 300, 0, undefined], [100, 300, -5, undefined], [100, 100, 5, 0],
])('rate from %s to %s in %s s', (before, now, seconds, want) => expect(rate(before, now, seconds)).toBe(want));

test('figures of a machine that tells everything', () => {
  const before = { uptime_seconds: 100, network_in_bytes: 0, network_out_bytes: 0 };
  expect(figuresOf({
    uptime_seconds: 105, load: [0.5, 1, 2], cpu_busy: 0.256, memory_bytes: 4096, memory_available_bytes: 1024, swap_bytes: 2048, swap_free_bytes: 2048,
    disk_bytes: 1 << 20, disk_free_bytes: 1 << 19, network_in_bytes: 5120, network_out_bytes: 0, temperature_celsius: 41.5, agent_memory_bytes: 9 << 20,
  }, before)).toEqual([
    { name: 'Processor', text: '26 %', share: 0.256 },
    { name: 'Load', text: '0.50 · 1.00 · 2.00' },
    { name: 'Memory', text: '3.0 KB of 4.0 KB', share: 0.75 },
    { name: 'Swap', text: '0 B of 2.0 KB', share: 0 },
    { name: 'Disk at /', text: '512 KB of 1.0 MB', share: 0.5 },
    { name: 'Network', text: '1.0 KB/s in, 0 B/s out' },
    { name: 'Temperature', text: '42 °C' },
    { name: 'Up for', text: '1 min' },
    { name: 'Agent', text: '9.0 MB' },
  ]);
});

test('what a device does not tell is left out, and a first answer has totals for rates', () => {
  expect(figuresOf({ disk_bytes: 0, memory_bytes: 5, swap_bytes: 0, network_in_bytes: 2048, network_out_bytes: 1024 })).toEqual([{ name: 'Network', text: '2.0 KB in, 1.0 KB out' }]);
  expect(figuresOf({})).toEqual([]);
});
