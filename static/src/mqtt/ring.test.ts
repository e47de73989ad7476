import { describe, expect, test } from 'vitest';
import type { Seen } from './message';
import { History, Ring } from './ring';

let id = 0;
const message = (topic: string, size = 0): Seen => ({ id: ++id, ms: id, topic, payload_base64: 'A'.repeat(size), bytes: size, qos: 0, retain: false, at: '' });

test('a ring holds the last ones, newest first', () => {
  const ring = new Ring<number>(3);
  expect(ring.newest()).toEqual([]);
  [1, 2].forEach((n) => ring.push(n));
  expect(ring.newest()).toEqual([2, 1]);
  [3, 4, 5].forEach((n) => ring.push(n));
  expect([ring.newest(), ring.size]).toEqual([[5, 4, 3], 3]);
});

describe('History', () => {
  test('keeps so many of each topic', () => {
    const history = new History(2);
    const all = ['a', 'a', 'b', 'a'].map((topic) => message(topic));
    all.forEach((each) => history.push(each));
    expect(history.of('a')).toEqual([all[1], all[3]]);
    expect(history.all()).toEqual([all[1], all[2], all[3]]);
    expect(history.of('nothing')).toEqual([]);
    expect(history.newest(({ topic }) => topic === 'a', 9)).toEqual([all[3], all[1]]);
    expect(history.newest(() => true, 2)).toEqual([all[3], all[2]]);
  });

  test('stays within its size, and lets go of what came first', () => {
    const history = new History(100, 10_000);
    const all = Array.from({ length: 8 }, (_, i) => message(i % 2 ? 'a' : 'b', 2000));
    all.forEach((each) => history.push(each));
    expect(history.bytes).toBeLessThanOrEqual(10_000);
    expect(history.all()).toEqual(all.slice(4));
    expect(history.of('a')).toEqual([all[5], all[7]]);
  });

  test('its own lists do not grow where one busy topic is beside a silent one', () => {
    const history = new History(10, 1e9);
    const silent = message('silent');
    history.push(silent);
    for (let i = 0; i < 20_000; i++) history.push(message('busy'));
    expect(history.all()).toHaveLength(11);
    expect(history.all()[0]).toBe(silent);
    expect((history as unknown as { queue: unknown[] }).queue.length).toBeLessThan(2000);
  });

  test('forgets all', () => {
    const history = new History();
    history.push(message('a', 10));
    history.clear();
    expect([history.bytes, history.all(), history.of('a')]).toEqual([0, [], []]);
  });
});
