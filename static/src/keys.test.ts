import { expect, test } from 'vitest';
import { Keys } from './keys';

const press = (key: string, more = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...more });

test('g d within a second, not after', () => {
  const keys = new Keys();
  expect(keys.press(press('g'), 0 + 5000, false, true)).toBeUndefined();
  expect(keys.press(press('d'), 5500, false, true)).toBe('go-devices');
  expect(keys.press(press('d'), 5600, false, true)).toBeUndefined();
  keys.press(press('g'), 7000, false, true);
  expect(keys.press(press('d'), 8100, false, true)).toBeUndefined();
});

test('letters never fire while somebody types, nor when they are switched off', () => {
  const keys = new Keys();
  expect(keys.press(press('/'), 0, true, true)).toBeUndefined();
  expect(keys.press(press('/'), 0, false, false)).toBeUndefined();
  expect(keys.press(press('/'), 0, false, true)).toBe('filter');
  expect(keys.press(press('?', { shiftKey: true }), 0, false, true)).toBe('keys');
});

test('Ctrl+K is left to a terminal, Ctrl+Shift+K is not', () => {
  const keys = new Keys();
  expect(keys.press(press('k', { ctrlKey: true }), 0, false, true)).toBe('palette');
  expect(keys.press(press('k', { ctrlKey: true }), 0, true, true)).toBeUndefined();
  expect(keys.press(press('K', { ctrlKey: true, shiftKey: true }), 0, true, true)).toBe('palette');
  expect(keys.press(press('k', { metaKey: true }), 0, false, false)).toBe('palette');
});
