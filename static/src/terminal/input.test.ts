import { expect, test } from 'vitest';
import { cleanPaste, commandOf, isManyLines, sequence, withModifiers } from './input';

const press = (key: string, code: string, mods = '') => ({
  key, code, ctrlKey: mods.includes('c'), shiftKey: mods.includes('s'), altKey: mods.includes('a'), metaKey: mods.includes('m'),
});

test.each([
  [press('C', 'KeyC', 'cs'), false, 'copy'],
  [press('c', 'KeyC', 'c'), true, 'copy-selection'],
  [press('c', 'KeyC', 'c'), false, undefined],
  [press('F6', 'F6', 'c'), false, 'leave'],
  [press('F6', 'F6'), false, undefined],
  [press('Tab', 'Tab', 's'), false, undefined],
  [press('k', 'KeyK', 'c'), false, undefined],
  [press('d', 'KeyD', 'c'), false, undefined],
  [press('D', 'KeyD', 'cs'), false, 'split-beside'],
  [press('ArrowLeft', 'ArrowLeft', 'cs'), false, 'pane-left'],
  [press('ArrowLeft', 'ArrowLeft', 'as'), false, 'tab-previous'],
  [press('=', 'Equal', 'c'), false, 'bigger'],
  [press('V', 'KeyV', 'cs'), false, undefined],
])('%o is %s', (p, selected, want) => expect(commandOf(p, 'Ctrl+F6', selected)).toBe(want));

test('a pasted text cannot end a bracketed paste', () => {
  expect(cleanPaste('a\n\x1b[201~rm -rf\r\nb\tc\x03')).toBe('a\r[201~rm -rf\rb\tc');
});

test.each([['ls', false], ['ls\n', false], ['a\nb', true], ['a\r\nb\n', true], ['\nls', false]])('%j many lines: %s', (text, want) => {
  expect(isManyLines(text)).toBe(want);
});

test('sticky modifiers', () => {
  expect(withModifiers('c', true, false)).toBe('\x03');
  expect(withModifiers('[', true, false)).toBe('\x1b');
  expect(withModifiers(' ', true, false)).toBe('\0');
  expect(withModifiers('b', false, true)).toBe('\x1bb');
  expect(withModifiers('ab', true, false)).toBe('ab');
});

test('keys of the bar', () => {
  expect(sequence('up', false, false, false)).toBe('\x1b[A');
  expect(sequence('up', true, false, false)).toBe('\x1bOA');
  expect(sequence('right', true, true, false)).toBe('\x1b[1;5C');
  expect(sequence('pageup', false, false, true)).toBe('\x1b[5;3~');
  expect(sequence('esc', false, false, false)).toBe('\x1b');
});
