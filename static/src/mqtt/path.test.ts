import { describe, expect, test } from 'vitest';
import { numberAt, numericPaths, series } from './path';

const data = { temp: 21.4, on: true, unit: 'C', n: '7', 'a.b': { 'c"': 1 }, list: [3, { v: 4 }], metrics: [{ name: 'Temp', value: 5 }, { name: 'Hum', value: 6 }], none: null };

test('finds what holds a number', () => {
  expect(numericPaths(data)).toEqual(['temp', 'on', 'n', '["a.b"]["c\\""]', 'list[0]', 'list[1].v', 'metrics[name=Temp].value', 'metrics[name=Hum].value']);
  expect(numericPaths(21)).toEqual(['$']);
  expect(numericPaths('on')).toEqual([]);
  expect(numericPaths(Array.from({ length: 500 }, (_, i) => i))).toHaveLength(60);
});

test('every path that is found leads to its number', () => {
  expect(numericPaths(data).map((path) => numberAt(data, path))).toEqual([21.4, 1, 7, 1, 3, 4, 5, 6]);
});

describe('numberAt', () => {
  test.each([['temp.x'], ['unit'], ['list[9]'], ['metrics[name=No].value'], ['none.x'], ['constructor'], ['']])('%s is no number', (path) => expect(numberAt(data, path)).toBeUndefined());
  test('a named item is found wherever it stands', () => {
    expect(numberAt({ metrics: [{ name: 'Hum', value: 1 }, { name: 'Temp', value: 2 }] }, 'metrics[name=Temp].value')).toBe(2);
  });
});

test('a series leaves out what has no number', () => {
  const messages = [{ ms: 1, v: { t: 1 } }, { ms: 2, v: {} }, { ms: 3, v: { t: '3' } }];
  expect(series(messages, 't', (message) => message.v)).toEqual([{ ms: 1, value: 1 }, { ms: 3, value: 3 }]);
});
