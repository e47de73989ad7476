import { describe, expect, test } from 'vitest';
import { hexDump } from '../hex';
import { decode, formatsOf, preview, searchText } from './decode';
import { base64Of } from './message';

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const of = (payload: string | Uint8Array, topic = 'home/x', whole = 0) => {
  const raw = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  return { topic, payload_base64: base64Of(raw), bytes: whole || raw.length };
};

test.each([
  ['an object', '{"t":21.4}', 'json', '{\n  "t": 21.4\n}'],
  ['a number', '21.4', 'json', '21.4'],
  ['a word', 'on', 'text', 'on'],
  ['more than ASCII', 'Küche 21 °C', 'text', 'Küche 21 °C'],
  ['nothing', '', 'text', ''],
  ['a map of CBOR', bytes('a161740a'), 'cbor', '{\n  "t": 10\n}'],
  ['CBOR of a plain integer, which any byte could be', bytes('18ff'), 'hex', '000000  18 ff                                            ··'],
  ['CBOR that is cut', bytes('a2617401'), 'hex', ''],
  ['bytes with a NUL', bytes('00'), 'hex', ''],
  ['broken UTF-8', bytes('c328'), 'hex', ''],
])('%s is found out', (_, payload, format, text) => {
  const decoded = decode(of(payload));
  expect(decoded.format).toBe(format);
  if (text || format === 'text') expect(decoded.text).toBe(text);
});

test('what was asked for wins where it fits, and gives way where it does not', () => {
  expect(decode(of('{"a":1}'), 'text').text).toBe('{"a":1}');
  expect(decode(of('{"a":1}'), 'hex').format).toBe('hex');
  expect(decode(of('on'), 'cbor').format).toBe('text');
  expect(formatsOf(of('{"a":1}'))).toEqual(['json', 'text', 'hex']);
  expect(formatsOf(of(bytes('a161740a')))).toEqual(['cbor', 'hex']);
});

// A payload of which only the front is here must not be taken for something else that happens to be whole.
test('a cut payload is text where it is text, also through a character, and never JSON', () => {
  expect(decode(of('123', 'x', 9000)).format).toBe('text');
  expect(decode(of(bytes('41c3'), 'x', 9000))).toEqual({ format: 'text', text: 'A' });
});

describe('previews', () => {
  test.each([
    ['{"b": [1,\n 2]}', '{"b":[1,2]}'], ['one\ntwo', 'one two'], ['', ''], [bytes('00ff'), '00 ff'], [new Uint8Array(20), `${'00 '.repeat(16)}…`],
  ])('%j', (payload, line) => expect(preview(of(payload))).toBe(line));
});

test('a search looks in text as it was sent, and in what CBOR means', () => {
  expect(searchText(of('{"a": 1}'))).toBe('{"a": 1}');
  expect(searchText(of(bytes('a161740a')))).toBe('{"t":10}');
  expect(searchText(of(bytes('00')))).toBe('');
});

test('a dump has an offset every sixteen bytes', () => {
  expect(hexDump(bytes('00'.repeat(17))).split('\n')[1]).toMatch(/^000010 {2}00 +·$/);
});

// Sparkplug: written by hand after the protobuf encoding, as no encoder is here.
const varint = (value: bigint): string => (value < 128n ? value.toString(16).padStart(2, '0') : ((value & 127n) | 128n).toString(16) + varint(value >> 7n));
const number = (field: number, value: bigint) => varint(BigInt(field << 3)) + varint(value);
const string = (field: number, hex: string) => varint(BigInt((field << 3) | 2)) + varint(BigInt(hex.length / 2)) + hex;
const hexOf = (raw: Uint8Array) => [...raw].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const text = (field: number, words: string) => string(field, hexOf(new TextEncoder().encode(words)));
const fixed = (field: number, wire: 1 | 5, hex: string) => varint(BigInt((field << 3) | wire)) + hex;
const float = (value: number) => hexOf(new Uint8Array(new Float32Array([value]).buffer));
const double = (value: number) => hexOf(new Uint8Array(new Float64Array([value]).buffer));
const sparkplug = (...metrics: string[]) => of(bytes(number(1, 1_700_000_000_000n) + metrics.map((metric) => string(2, metric)).join('') + number(3, 7n)), 'spBv1.0/plant/NDATA/edge');
const first = (metric: string) => (decode(sparkplug(metric)).value as { metrics: Record<string, unknown>[] }).metrics[0];

describe('Sparkplug B', () => {
  test('a payload', () => {
    const { format, value } = decode(sparkplug(text(1, 'Temp') + number(3, 1_700_000_000_000n) + number(4, 9n) + fixed(12, 5, float(21.4))));
    expect(format).toBe('sparkplug');
    expect(value).toEqual({
      timestamp: '2023-11-14T22:13:20.000Z', seq: 7,
      metrics: [{ name: 'Temp', type: 'Float', value: 21.4, timestamp: '2023-11-14T22:13:20.000Z' }],
    });
  });

  test.each([
    ['Int8 below zero', number(4, 1n) + number(10, 0xffn), -1],
    ['Int32 below zero', number(4, 3n) + number(10, 0xffff_fff6n), -10],
    ['Int64 below zero', number(4, 4n) + number(11, 2n ** 64n - 5n), -5],
    ['UInt64 beyond JSON', number(4, 8n) + number(11, 2n ** 64n - 1n), '18446744073709551615'],
    ['Double', number(4, 10n) + fixed(13, 1, double(1 / 3)), 1 / 3],
    ['NaN', number(4, 9n) + fixed(12, 5, float(NaN)), 'NaN'],
    ['Boolean', number(4, 11n) + number(14, 1n), true],
    ['String', number(4, 12n) + text(15, 'grün'), 'grün'],
    ['DateTime', number(4, 13n) + number(11, 0n), '1970-01-01T00:00:00.000Z'],
    ['Bytes', number(4, 17n) + string(16, 'dead'), "h'dead'"],
    ['null', number(4, 3n) + number(7, 1n) + number(10, 4n), null],
    ['Int16Array', number(4, 23n) + string(16, 'feff0100'), [-2, 1]],
    ['BooleanArray', number(4, 32n) + string(16, '03000000a0'), [true, false, true]],
    ['StringArray', number(4, 33n) + string(16, '6100626300'), ['a', 'bc']],
    ['DataSet', number(4, 16n) + string(17, number(1, 2n) + text(2, 'a') + text(2, 'b') + number(3, 3n) + number(3, 12n) + string(4, string(1, number(1, 1n)) + string(1, text(6, 'x')))), [{ a: 1, b: 'x' }]],
    ['Template', number(4, 19n) + string(18, text(4, 'Motor') + string(2, text(1, 'rpm') + number(4, 3n) + number(10, 9n))), { template: 'Motor', metrics: [{ name: 'rpm', type: 'Int32', value: 9 }] }],
  ])('%s', (_, metric, value) => expect(first(metric)!['value']).toEqual(value));

  test('properties', () => {
    expect(first(number(4, 3n) + number(10, 1n) + string(9, text(1, 'unit') + string(2, number(1, 12n) + text(8, '°C'))))!['properties']).toEqual({ unit: '°C' });
  });

  test('bytes that are no such payload, and STATE, are read as what they are', () => {
    expect(decode(of('{"online":true}', 'spBv1.0/STATE/host')).format).toBe('json');
    expect(decode(of('plain', 'spBv1.0/g/NDATA/e')).format).toBe('text');
    expect(decode(sparkplug(number(4, 9n) + number(12, 1n))).format).toBe('hex');
  });
});
