// Reads CBOR (RFC 8949) into values that JSON can show: byte strings as h'…', integers beyond 2^53 as text, tags as
// {tag, value}. What is malformed, cut or followed by more bytes is refused.

const MAX_DEPTH = 32;

class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.at === this.bytes.length;
  }

  item(depth = 0): unknown {
    if (depth > MAX_DEPTH) throw new RangeError('CBOR: nested too deep');
    const first = this.take(1)[0]!;
    const [major, info] = [first >> 5, first & 31];
    if (major === 7) return this.simple(info);
    const indefinite = info === 31;
    const length = indefinite ? Infinity : this.argument(info);
    if (indefinite && (major < 2 || major === 6)) throw new RangeError('CBOR: no indefinite length here');
    return this.body(major, length, depth);
  }

  private body(major: number, length: number | bigint, depth: number): unknown {
    switch (major) {
      case 0: return typeof length === 'bigint' ? String(length) : length;
      case 1: return typeof length === 'bigint' ? String(-1n - length) : -1 - length;
      case 2: return `h'${[...this.string(2, Number(length))].map((byte) => byte.toString(16).padStart(2, '0')).join('')}'`;
      case 3: return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.string(3, Number(length)));
      case 4: return this.array(Number(length), depth);
      case 5: return this.map(Number(length), depth);
      default: return this.tagged(length, depth);
    }
  }

  /** Tag 55799 only says that this is CBOR (§3.4.6). */
  private tagged(tag: number | bigint, depth: number): unknown {
    const value = this.item(depth + 1);
    return tag === 55799 ? value : { tag: Number(tag), value };
  }

  private array(length: number, depth: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < length && !this.broke(length); i++) items.push(this.item(depth + 1));
    return items;
  }

  private map(length: number, depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    for (let i = 0; i < length && !this.broke(length); i++) {
      const key = this.item(depth + 1);
      entries.push([typeof key === 'string' ? key : JSON.stringify(key), this.item(depth + 1)]);
    }
    return Object.fromEntries(entries);
  }

  private string(major: number, length: number): Uint8Array {
    if (length !== Infinity) return this.take(length);
    const parts: number[] = [];
    while (!this.broke(length)) {
      const first = this.take(1)[0]!;
      if (first >> 5 !== major || (first & 31) === 31) throw new RangeError('CBOR: a chunk of another kind');
      parts.push(...this.take(Number(this.argument(first & 31))));
    }
    return Uint8Array.from(parts);
  }

  private simple(info: number): unknown {
    if (info === 20 || info === 21) return info === 21;
    if (info === 22) return null;
    if (info === 23) return 'undefined';
    if (info === 25) return shown(half(this.number('getUint16', 2)));
    if (info === 26) return shown(this.number('getFloat32', 4));
    if (info === 27) return shown(this.number('getFloat64', 8));
    if (info > 24) throw new RangeError('CBOR: a break or a reserved value');
    return { simple: info === 24 ? this.take(1)[0] : info };
  }

  private argument(info: number): number | bigint {
    if (info < 24) return info;
    if (info === 24) return this.take(1)[0]!;
    if (info === 25) return this.number('getUint16', 2);
    if (info === 26) return this.number('getUint32', 4);
    if (info !== 27) throw new RangeError('CBOR: a reserved length');
    this.take(8);
    const value = this.view.getBigUint64(this.at - 8);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? value : Number(value);
  }

  private broke(length: number): boolean {
    if (length !== Infinity || this.bytes[this.at] !== 0xff) return false;
    this.at++;
    return true;
  }

  private number(kind: 'getUint16' | 'getUint32' | 'getFloat32' | 'getFloat64', size: number): number {
    this.take(size);
    return this.view[kind](this.at - size);
  }

  private take(count: number): Uint8Array {
    if (count > this.bytes.length - this.at) throw new RangeError('CBOR: cut short');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}

/** JSON has no word for these. */
const shown = (value: number) => (Number.isFinite(value) ? value : String(value));

/** A half-precision float (RFC 8949, appendix D). */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The one item that the bytes are. Throws a RangeError or TypeError where they are not CBOR. */
export function readCBOR(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.item();
  if (!reader.done) throw new RangeError('CBOR: more bytes follow');
  return value;
}
