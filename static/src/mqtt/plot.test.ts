import { expect, test } from 'vitest';
import { plot, roundValues } from './plot';

test.each([[0, 10, [0, 5, 10]], [20.9, 21.6, [21, 21.2, 21.4, 21.6]], [-3, 3, [-2, 0, 2]], [7, 7, [7]], [Infinity, -Infinity, []]])('round values from %s to %s', (low, high, values) => {
  expect(roundValues(low, high)).toEqual(values);
});

test('a line goes from edge to edge, high values up', () => {
  const drawn = plot([{ ms: 0, value: 1 }, { ms: 500, value: 3 }, { ms: 1000, value: 2 }], 128, 100);
  expect(drawn.line).toBe('M14 86L64 14L114 50');
  expect([drawn.low, drawn.high]).toEqual([1, 3]);
});

test('one point, and none', () => {
  expect(plot([{ ms: 5, value: 9 }], 100, 50).dots).toEqual([{ x: 50, y: 25 }]);
  expect(plot([], 100, 50)).toMatchObject({ line: '', dots: [], lines: [] });
});
