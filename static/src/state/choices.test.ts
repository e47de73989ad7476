import { expect, test } from 'vitest';
import { defaults, restore } from './choices';

test('a first visit has the defaults', () => expect(restore(null)).toEqual(defaults));

test('keeps what fits and takes the default for the rest', () => {
  expect(restore('{"theme":"dark","scrollback":150000,"fontSize":"big","unknown":1}')).toEqual({ ...defaults, theme: 'dark', scrollback: 150000 });
});

test.each(['not json', 'null', '[]', '7'])('survives %s', (text) => expect(restore(text)).toEqual(defaults));
