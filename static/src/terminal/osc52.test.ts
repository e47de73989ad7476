import { expect, test } from 'vitest';
import { parseClipboard } from './osc52';

const encode = (text: string) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

test('writes, in any script, with any selection or none', () => {
  expect(parseClipboard(`c;${encode('Grüße 厨房')}`)).toEqual({ kind: 'write', text: 'Grüße 厨房' });
  expect(parseClipboard(`;${encode('tmux')}`)).toEqual({ kind: 'write', text: 'tmux' });
});

test('a read is seen as one, to be refused', () => expect(parseClipboard('c;?')).toEqual({ kind: 'read' }));

test.each(['', 'c', 'c;', 'c;***', `c;${btoa('\xff\xfe')}`, `c;${'A'.repeat(1_500_000)}`])('refuses %.20j', (payload) => {
  expect(parseClipboard(payload)).toEqual({ kind: 'invalid' });
});
