import { describe as group, expect, test } from 'vitest';
import { askOf, describe, filterOf, nextOf, oldestToTry, renewed, rowTime, took, triesOf } from './delivery';

const now = Date.parse('2026-01-02T03:04:05Z');

group('filters', () => {
  test('come from the address and go to the API', () => {
    const filter = filterOf(new URLSearchParams('endpoint=shop&state=dead&type=device.*&since=24h&until=2026-01-02T03:00:00Z'));
    expect(askOf(filter, now)).toEqual({ endpoint: 'shop', state: 'dead', type: 'device.*', since: '2026-01-01T03:04:05.000Z', until: '2026-01-02T03:00:00.000Z' });
    expect(describe({ ...filter, until: '' })).toBe('that were given up, of device.*, to shop, of the last day');
  });

  // A replay takes the same filter: a state that was made up must not widen it in silence, nor break the page.
  test('leave out what is none', () => {
    const filter = filterOf(new URLSearchParams('state=__proto__x&since=yesterday'));
    expect(filter.state).toBe('');
    expect(askOf(filter, now)).toEqual({});
    expect(describe(filterOf(new URLSearchParams()))).toBe('');
  });
});

test('a delivery says when it goes out, or why not', () => {
  expect(nextOf({ state: 'waiting', next_at: '2026-01-02T03:08:20Z' }, now)).toBe('Next try in 4 min');
  expect(nextOf({ state: 'waiting', next_at: '2026-01-02T03:04:05Z' }, now)).toBe('Next try now');
  expect(nextOf({ state: 'waiting', held_by: 'paused' }, now)).toMatch(/paused/);
  expect(nextOf({ state: 'waiting', held_by: 'disabled' }, now)).toMatch(/disabled/);
  expect(nextOf({ state: 'dead' }, now)).toBe('');
});

test('the oldest that may be tried stands last, before those that wait for another', () => {
  expect(oldestToTry([{ id: 'c', state: 'waiting', held_by: 'breaker' }, { id: 'b', state: 'waiting' }, { id: 'a', state: 'waiting', held_by: 'order' }] as const)).toMatchObject({ id: 'b' });
  expect(oldestToTry([{ state: 'waiting', held_by: 'order' }, { state: 'sending' }])).toBeUndefined();
});

test('tries and times', () => {
  expect(triesOf({ attempts: 1, max_attempts: 10, state: 'delivered' })).toBe('1');
  expect(triesOf({ attempts: 3, max_attempts: 10, state: 'waiting' })).toBe('3/10');
  expect([took(84), took(2100), took(undefined)]).toEqual(['84 ms', '2.1 s', '']);
});

test('a row of today has its time, another its day', () => {
  const today = new Date(2026, 6, 14).toDateString();
  expect(rowTime(new Date(2026, 6, 14, 0, 5, 9).toISOString(), today)).toBe('00:05:09');
  expect(rowTime(new Date(2026, 6, 13, 23, 59).toISOString(), today)).toMatch(/^[^:]*13[^:]*$/);
  expect(rowTime(new Date(2025, 6, 14, 12).toISOString(), today)).toMatch(/^[^:]*14[^:]*$/);
});

group('renewed', () => {
  const list = (...ids: string[]) => ids.map((id) => ({ id }));
  test('keeps what was loaded below the fresh front', () => expect(renewed(list('c', 'b', 'a'), list('d', 'c'))).toEqual(list('d', 'c', 'b', 'a')));
  test('forgets what may have a gap before it', () => expect(renewed(list('b', 'a'), list('f', 'e'))).toEqual(list('f', 'e')));
  test('ends with an empty front', () => expect(renewed(list('b', 'a'), [])).toEqual([]));
});
