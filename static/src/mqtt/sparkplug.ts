// Reads Sparkplug B payloads (Sparkplug 3.0.0 §6.4): a protobuf message `Payload` with metrics. Only reading, and only
// what a person looks at.

type Field = { number: number; varint: bigint; bytes: Uint8Array; wire: number };

/** The fields of a protobuf message in order (protobuf encoding: varint 0, 64 bit 1, bytes 2, 32 bit 5). */
function* fields(bytes: Uint8Array): Generator<Field> {
  const reader = new Wire(bytes);
  while (!reader.done) {
    const key = reader.varint();
    const [number, wire] = [Number(key >> 3n), Number(key & 7n)];
    if (number === 0) throw new RangeError('protobuf: field 0');
    if (wire === 0) yield { number, wire, varint: reader.varint(), bytes: new Uint8Array() };
    else if (wire === 1) yield { number, wire, varint: 0n, bytes: reader.take(8) };
    else if (wire === 2) yield { number, wire, varint: 0n, bytes: reader.take(Number(reader.varint())) };
    else if (wire === 5) yield { number, wire, varint: 0n, bytes: reader.take(4) };
    else throw new RangeError('protobuf: a wire type that nobody sends');
  }
}

class Wire {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.at === this.bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(1)[0]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new RangeError('protobuf: a number without end');
  }

  take(count: number): Uint8Array {
    if (count > this.bytes.length - this.at) throw new RangeError('protobuf: cut short');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}

const types = [
  'Unknown', 'Int8', 'Int16', 'Int32', 'Int64', 'UInt8', 'UInt16', 'UInt32', 'UInt64', 'Float', 'Double', 'Boolean', 'String', 'DateTime', 'Text', 'UUID',
  'DataSet', 'Bytes', 'File', 'Template', 'PropertySet', 'PropertySetList', 'Int8Array', 'Int16Array', 'Int32Array', 'Int64Array', 'UInt8Array', 'UInt16Array',
  'UInt32Array', 'UInt64Array', 'FloatArray', 'DoubleArray', 'BooleanArray', 'StringArray', 'DateTimeArray',
];
const signedBits: Record<string, number> = { Int8: 8, Int16: 16, Int32: 32, Int64: 64 };
const MAX_DEPTH = 8;

export interface Metric {
  name?: string;
  alias?: number;
  type: string;
  value: unknown;
  timestamp?: string;
  historical?: true;
  properties?: Record<string, unknown>;
}

export interface SparkplugPayload {
  timestamp?: string;
  seq?: number;
  metrics: Metric[];
  uuid?: string;
  body?: string;
}

/** Throws a RangeError or TypeError where the bytes are no such payload. */
export function readSparkplug(bytes: Uint8Array): SparkplugPayload {
  const payload: SparkplugPayload = { metrics: [] };
  for (const field of fields(bytes)) {
    expect(field, field.number === 1 || field.number === 3 ? 0 : 2, field.number <= 5);
    if (field.number === 1) payload.timestamp = moment(field.varint);
    else if (field.number === 2) payload.metrics.push(metric(field.bytes, 0));
    else if (field.number === 3) payload.seq = Number(field.varint);
    else if (field.number === 4) payload.uuid = text(field.bytes);
    else if (field.number === 5) payload.body = hex(field.bytes);
  }
  return payload;
}

/** A field that the schema knows has the schema's kind; without that any bytes would do. */
function expect(field: Field, wire: number, known: boolean): void {
  if (known && field.wire !== wire) throw new RangeError('protobuf: a field of another kind');
}

function metric(bytes: Uint8Array, depth: number): Metric {
  if (depth > MAX_DEPTH) throw new RangeError('Sparkplug: templates nested too deep');
  const all = [...fields(bytes)];
  const find = (number: number) => all.findLast((field) => field.number === number);
  const type = types[Number(find(4)?.varint ?? 0n)] ?? 'Unknown';
  const found = all.findLast((field) => field.number >= 10 && field.number <= 18);
  const [name, alias, at, properties] = [find(1), find(2), find(3), find(9)];
  return {
    ...(name && { name: text(name.bytes) }),
    ...(alias && { alias: Number(alias.varint) }),
    type,
    value: find(7)?.varint || !found ? null : valueOf(found, found.number - 9, type, depth),
    ...(at && { timestamp: moment(at.varint) }),
    ...(find(5)?.varint && { historical: true as const }),
    ...(properties && { properties: propertySet(properties.bytes, depth) }),
  };
}

/** The kinds of value in the order that metrics, properties and data sets all number them in. */
function valueOf(field: Field, kind: number, type: string, depth: number): unknown {
  expect(field, [0, 0, 0, 5, 1, 0][kind] ?? 2, true);
  switch (kind) {
    case 1: case 2: return integer(field.varint, type);
    case 3: return finite(view(field.bytes).getFloat32(0, true));
    case 4: return finite(view(field.bytes).getFloat64(0, true));
    case 5: return field.varint !== 0n;
    case 6: return text(field.bytes);
    case 7: return arrayOf(field.bytes, type);
    case 8: return dataSet(field.bytes, depth);
    default: return template(field.bytes, depth);
  }
}

function integer(value: bigint, type: string): unknown {
  if (type === 'DateTime') return moment(value);
  const bits = signedBits[type];
  const number = bits ? BigInt.asIntN(bits, value) : value;
  return Number.isSafeInteger(Number(number)) ? Number(number) : String(number);
}

const elements: Record<string, [size: number, read: (view: DataView, at: number) => unknown]> = {
  Int8Array: [1, (v, at) => v.getInt8(at)], Int16Array: [2, (v, at) => v.getInt16(at, true)], Int32Array: [4, (v, at) => v.getInt32(at, true)],
  Int64Array: [8, (v, at) => integer(v.getBigUint64(at, true), 'Int64')], UInt8Array: [1, (v, at) => v.getUint8(at)],
  UInt16Array: [2, (v, at) => v.getUint16(at, true)], UInt32Array: [4, (v, at) => v.getUint32(at, true)],
  UInt64Array: [8, (v, at) => integer(v.getBigUint64(at, true), 'UInt64')], FloatArray: [4, (v, at) => finite(v.getFloat32(at, true))],
  DoubleArray: [8, (v, at) => finite(v.getFloat64(at, true))], DateTimeArray: [8, (v, at) => moment(v.getBigUint64(at, true))],
};

/** Arrays are packed little-endian in a byte string (§6.4.17); what is no array is shown as its bytes. */
function arrayOf(bytes: Uint8Array, type: string): unknown {
  if (type === 'StringArray') return text(bytes).split('\0').slice(0, -1);
  if (type === 'BooleanArray' && bytes.length >= 4) {
    const count = Math.min(view(bytes).getUint32(0, true), (bytes.length - 4) * 8);
    return Array.from({ length: count }, (_, i) => (bytes[4 + (i >> 3)]! & (128 >> (i & 7))) !== 0);
  }
  const element = elements[type];
  if (!element || bytes.length % element[0] !== 0) return hex(bytes);
  return Array.from({ length: bytes.length / element[0] }, (_, i) => element[1](view(bytes), i * element[0]));
}

function dataSet(bytes: Uint8Array, depth: number): Record<string, unknown>[] {
  const all = [...fields(bytes)];
  const columns = all.filter((field) => field.number === 2).map((field) => text(field.bytes));
  const kinds = all.filter((field) => field.number === 3).flatMap((field) => (field.wire === 0 ? [field.varint] : packed(field.bytes)));
  const row = (of: Uint8Array) =>
    [...fields(of)].map((cell, i) => [columns[i] ?? String(i), elementOf(cell.bytes, types[Number(kinds[i] ?? 0n)] ?? '', depth)] as const);
  return all.filter((field) => field.number === 4).map((field) => Object.fromEntries(row(field.bytes)));
}

function elementOf(bytes: Uint8Array, type: string, depth: number): unknown {
  const field = [...fields(bytes)].find(({ number }) => number <= 6);
  return field ? valueOf(field, field.number, type, depth) : null;
}

function packed(bytes: Uint8Array): bigint[] {
  const wire = new Wire(bytes);
  const values: bigint[] = [];
  while (!wire.done) values.push(wire.varint());
  return values;
}

function template(bytes: Uint8Array, depth: number): Record<string, unknown> {
  const all = [...fields(bytes)];
  const words = (number: number) => all.filter((field) => field.number === number).map((field) => text(field.bytes));
  return {
    ...(words(4).length && { template: words(4)[0] }),
    ...(words(1).length && { version: words(1)[0] }),
    metrics: all.filter((field) => field.number === 2).map((field) => metric(field.bytes, depth + 1)),
  };
}

function propertySet(bytes: Uint8Array, depth: number): Record<string, unknown> {
  if (depth > MAX_DEPTH) throw new RangeError('Sparkplug: properties nested too deep');
  const all = [...fields(bytes)];
  const values = all.filter((field) => field.number === 2).map((field) => property(field.bytes, depth));
  return Object.fromEntries(all.filter((field) => field.number === 1).map((field, i) => [text(field.bytes), values[i] ?? null]));
}

function property(bytes: Uint8Array, depth: number): unknown {
  const all = [...fields(bytes)];
  const type = types[Number(all.find((field) => field.number === 1)?.varint ?? 0n)] ?? '';
  const value = all.find((field) => field.number >= 3);
  if (!value || all.some((field) => field.number === 2 && field.varint)) return null;
  if (value.number === 9) return propertySet(value.bytes, depth + 1);
  if (value.number === 10) return [...fields(value.bytes)].map((field) => propertySet(field.bytes, depth + 1));
  return valueOf(value, value.number - 2, type, depth);
}

const text = (bytes: Uint8Array) => new TextDecoder('utf-8', { fatal: true }).decode(bytes);
const hex = (bytes: Uint8Array) => `h'${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}'`;
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
/** 21.4 sent as a float of four bytes is 21.399999618530273, which is nobody's measurement. JSON has no word for NaN. */
const finite = (value: number) => (Number.isFinite(value) ? (Math.fround(value) === value ? Number(value.toPrecision(7)) : value) : String(value));
const moment = (ms: bigint) => (ms <= 8_640_000_000_000_000n ? new Date(Number(ms)).toISOString() : String(ms));
