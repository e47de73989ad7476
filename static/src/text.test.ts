import { describe, expect, test } from 'vitest';
import { announcement, ago, bytes, clock, clockError, isDeviceName, left, plain, shellWord, span, tagsOf } from './text';

test.each([
  [0, '0 s'], [59, '59 s'], [60, '1 min'], [3599, '59 min'], [3600, '1 h'], [86400, '24 h'], [172800, '2 d'], [41 * 86400, '41 d'], [-5, '0 s'],
])('span of %s s is %s', (seconds, want) => expect(span(seconds)).toBe(want));

test('ago', () => {
  const now = Date.parse('2026-01-01T12:00:00Z');
  expect(ago('2026-01-01T11:59:55Z', now)).toBe('now');
  expect(ago('2026-01-01T12:00:30Z', now)).toBe('now');
  expect(ago('2026-01-01T09:00:00Z', now)).toBe('3 h ago');
  expect(ago(undefined, now)).toBe('never');
});

test.each([
  [900_000, '15 min'], [899_000, '15 min'], [61_000, '1 min'], [62_000, '2 min'], [900_900, '15 min'], [60_000, '1:00'], [59_001, '1:00'], [1, '0:01'], [0, '0:00'], [-5, '0:00'], [86_400_000 * 3, '3 d'],
])('left of %s ms is %s', (ms, want) => expect(left(ms)).toBe(want));

test('a countdown speaks at five minutes, at one, and at the end', () => {
  expect(announcement(900_000)).toBe('');
  expect(announcement(300_000)).toMatch(/five/);
  expect(announcement(60_000)).toMatch(/one/);
  expect(announcement(0)).toMatch(/expired/);
});

test('clock', () => {
  const early = new Date(2026, 6, 14, 0, 5, 9);
  expect(clock(early.toISOString())).toBe('00:05');
  expect(clock(early.getTime(), true)).toBe('00:05:09');
});

describe('plain', () => {
  test('takes out what hides or reorders', () => {
    expect(plain('a\u202eb\u0000c\u200bd\u2066e\u001b[31m')).toBe('abcde[31m');
  });
  test('keeps letters of every script, and markup as text', () => {
    expect(plain('Küche 厨房 <b>&amp;')).toBe('Küche 厨房 <b>&amp;');
  });
});

test('bytes', () => {
  expect(bytes(512)).toBe('512 B');
  expect(bytes(4 * 1024 ** 3)).toBe('4.0 GB');
  expect(bytes(undefined)).toBe('');
});

test('clockError stays silent below a minute', () => {
  expect(clockError(59_000)).toBe('');
  expect(clockError(-3_600_000)).toBe('1 h behind');
  expect(clockError(120_000)).toBe('2 min ahead');
});

test.each([['kitchen-pi', true], ['a', true], ['-a', false], ['a-', false], ['A', false], ['', false], ['x'.repeat(63), true], ['x'.repeat(64), false]])(
  'isDeviceName %s', (name, want) => expect(isDeviceName(name)).toBe(want),
);

test('tagsOf', () => expect(tagsOf(' pi, lab  pi,')).toEqual(['pi', 'lab']));

test('shellWord', () => {
  expect(shellWord('pi@kitchen')).toBe('pi@kitchen');
  expect(shellWord("it's; rm")).toBe(`'it'\\''s; rm'`);
});
