import { expect, test } from 'vitest';
import { diff } from './diff';

const marks = { same: ' ', out: '-', in: '+' };
const shown = (before: string, after: string) => diff(before, after).map(({ kind, text }) => marks[kind] + text);

test.each([
  ['the same', 'a\nb', 'a\nb', [' a', ' b']],
  ['one line', 'a\nb\nc', 'a\nx\nc', [' a', '-b', '+x', ' c']],
  ['more at the end', 'a', 'a\nb', [' a', '+b']],
  ['less at the front', 'a\nb', 'b', ['-a', ' b']],
  ['what stays between changes', 'a\nk\nb', 'x\nk\ny', ['-a', '+x', ' k', '-b', '+y']],
  ['lines that repeat', 'a\na', 'a', [' a', '-a']],
])('%s', (_, before, after, lines) => expect(shown(before, after)).toEqual(lines));

test('long texts that have nothing in common end quickly', () => {
  const [before, after] = ['a', 'b'].map((letter) => Array.from({ length: 2000 }, (_, i) => letter + i).join('\n')) as [string, string];
  const lines = diff(before, after);
  expect(lines).toHaveLength(4000);
  expect(lines[0]!.kind).toBe('out');
  expect(lines[2000]!.kind).toBe('in');
});
