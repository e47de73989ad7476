import { describe, expect, test } from 'vitest';
import { readCBOR } from './cbor';

const read = (hex: string) => readCBOR(Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)));

// RFC 8949, appendix A.
test.each([
  ['00', 0], ['17', 23], ['1818', 24], ['1903e8', 1000], ['1a000f4240', 1_000_000], ['1b000000e8d4a51000', 1_000_000_000_000],
  ['1bffffffffffffffff', '18446744073709551615'], ['3bffffffffffffffff', '-18446744073709551616'], ['20', -1], ['3903e7', -1000],
  ['f90000', 0], ['f93c00', 1], ['f93e00', 1.5], ['f97bff', 65504], ['f90001', 5.960464477539063e-8], ['f9c400', -4], ['fa47c35000', 100_000],
  ['fb3ff199999999999a', 1.1], ['f97c00', 'Infinity'], ['f97e00', 'NaN'], ['fbfff0000000000000', '-Infinity'],
  ['f4', false], ['f5', true], ['f6', null], ['f7', 'undefined'], ['f0', { simple: 16 }], ['f8ff', { simple: 255 }],
  ['c11a514b67b0', { tag: 1, value: 1363896240 }], ['d9d9f783010203', [1, 2, 3]], ['4401020304', "h'01020304'"],
  ['62c3bc', 'ü'], ['60', ''], ['80', []], ['8301820203820405', [1, [2, 3], [4, 5]]], ['a0', {}], ['a201020304', { 1: 2, 3: 4 }],
  ['a26161016162820203', { a: 1, b: [2, 3] }], ['5f42010243030405ff', "h'0102030405'"], ['7f657374726561646d696e67ff', 'streaming'],
  ['9fff', []], ['9f018202039f0405ffff', [1, [2, 3], [4, 5]]], ['bf6346756ef563416d7421ff', { Fun: true, Amt: -2 }],
])('%s', (hex, value) => expect(read(hex)).toEqual(value));

describe('refuses', () => {
  test.each([
    ['nothing', ''], ['a cut string', '6261'], ['a list longer than what follows', '9affffffff'], ['bytes that follow', '0000'], ['a break alone', 'ff'],
    ['reserved lengths', '1c'], ['an integer of no length', '1f'], ['a chunk of another kind', '5f6161ff'], ['broken UTF-8', '61ff'], ['depth', '81'.repeat(40) + '00'],
  ])('%s', (_, hex) => expect(() => read(hex)).toThrow());
});
