import { expect, test } from 'vitest';
import { tokens } from './tokens';

const value = { 'a"b': 'x: "1"', n: -1.5e-7, list: [true, null, {}], empty: '' };

test('tells apart what JSON is made of', () => {
  const text = JSON.stringify(value, null, 2);
  const found = tokens(text);
  expect(found.map((token) => token.text).join('')).toBe(text);
  const of = (kind: string) => found.filter((token) => token.kind === kind).map((token) => token.text);
  expect(of('name')).toEqual(['"a\\"b"', '"n"', '"list"', '"empty"']);
  expect(of('word')).toEqual(['"x: \\"1\\""', '""']);
  expect(of('number')).toEqual(['-1.5e-7', 'true', 'null']);
});

test('gives up on what has too many pieces', () => expect(tokens(JSON.stringify(Array(3000).fill(1)))).toEqual([]));
