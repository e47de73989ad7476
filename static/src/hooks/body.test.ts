import { expect, test } from 'vitest';
import { comparable, Digits, hexOf, jsonOf, kindsOf, textOf, visible } from './body';

const of = (text: string) => new TextEncoder().encode(text);

test.each([
  ['{"a":1}', ['json', 'text', 'hex']],
  ['[1]', ['json', 'text', 'hex']],
  ['12', ['text', 'hex']],
  ['{"a":', ['text', 'hex']],
  ['<script>alert(1)</script>', ['text', 'hex']],
  ['a\u0000b', ['hex']],
])('%j is %j', (text, want) => expect(kindsOf(of(text), false)).toEqual(want));

test('a part of JSON is text, even where it is cut within a character', () => {
  const part = of('{"a":"é').subarray(0, -1);
  expect(kindsOf(part, true)).toEqual(['text', 'hex']);
  expect(textOf(part, true)).toBe('{"a":"');
  expect(kindsOf(part, false)).toEqual(['hex']);
});

// A receiver's answer is a stranger's text: it must not turn the order of what a person reads.
test('characters that hide or turn the order stand by their names', () => {
  expect(visible('pay \u202egnp.exe\u200b')).toBe('pay ⟨U+202E⟩gnp.exe⟨U+200B⟩');
  expect(visible('a\r\nb\tc')).toBe('a\nb\tc');
  expect(textOf(of('\ufeff{}'), false)).toBe('⟨U+FEFF⟩{}');
});

test('what is compared does not depend on the order of members', () => {
  expect(comparable(of('{"b":1,"a":[{"d":1,"c":2}]}'), false)).toBe(comparable(of('{ "a": [{"c":2,"d":1}], "b": 1 }'), false));
  expect(comparable(Uint8Array.of(0, 1), false)).toBe(hexOf(Uint8Array.of(0, 1)));
});

// A page of exact bytes must not show another number than the one that went. Node before 21 cannot tell (no context.source).
test('numbers stay as they were written', () => {
  const kept = (JSON.parse as (text: string, reviver: (...all: unknown[]) => unknown) => unknown)('1.0', (...all) => (all[2] as { source?: string } | undefined)?.source);
  const value = jsonOf(of('{"a":12345678901234567890,"b":21.50,"c":1}')) as Record<string, unknown>;
  expect(value['c']).toBe(1);
  if (kept === '1.0') expect([value['a'], value['b']]).toEqual([new Digits('12345678901234567890'), new Digits('21.50')]);
});
