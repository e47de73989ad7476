// What a payload says: JSON, text, CBOR, Sparkplug B, or bytes as hex, found by looking at it.

import { hexDump } from '../hex';
import { readCBOR } from './cbor';
import { bytesOf, isCut, type Seen } from './message';
import { readSparkplug } from './sparkplug';

export type Format = 'json' | 'text' | 'cbor' | 'sparkplug' | 'hex';

export const formatNames: Record<Format, string> = { json: 'JSON', text: 'Text', cbor: 'CBOR', sparkplug: 'Sparkplug B', hex: 'Hex' };

export interface Decoded {
  format: Format;
  /** For people: indented where it has structure. */
  text: string;
  /** What it is as data; undefined where it is only text or bytes. */
  value?: unknown;
}

type Source = Pick<Seen, 'topic' | 'payload_base64' | 'bytes'>;

/** Sparkplug topics, except STATE, whose payload is JSON (Sparkplug 3.0.0 §5.12). */
const sparkplugTopic = /^spBv1\.0\/[^/]+\/[ND](BIRTH|DEATH|DATA|CMD)\//;

const readers: Record<Format, (bytes: Uint8Array, source: Source) => Decoded | undefined> = {
  sparkplug: (bytes, source) => (sparkplugTopic.test(source.topic) && bytes.length > 0 ? structured('sparkplug', readSparkplug(bytes)) : undefined),
  json: (bytes, source) => (isCut(source) ? undefined : structured('json', JSON.parse(utf8(bytes, false)))),
  text: (bytes, source) => readable(utf8(bytes, isCut(source))),
  cbor: (bytes) => (isLikelyCBOR(bytes) ? structured('cbor', readCBOR(bytes)) : undefined),
  hex: (bytes) => ({ format: 'hex', text: hexDump(bytes) }),
};

/** The formats that fit, the most telling one first. Hex always fits. */
export function formatsOf(source: Source): Format[] {
  return (Object.keys(readers) as Format[]).filter((format) => attempt(format, source));
}

/** The payload in a format, or where that does not fit, or none is wanted, in the first one that does. */
export function decode(source: Source, wanted?: Format | ''): Decoded {
  const order = [...(wanted ? [wanted] : []), ...(Object.keys(readers) as Format[])];
  for (const format of order) {
    const decoded = attempt(format, source);
    if (decoded) return decoded;
  }
  return { format: 'hex', text: '' };
}

const previews = new WeakMap<Source, string>();

/** One line for lists. Made once for each message, as lists are drawn ten times a second. */
export function preview(source: Source): string {
  let line = previews.get(source);
  if (line === undefined) {
    line = source.bytes === 0 ? '' : firstLine(decode(source), source.bytes);
    previews.set(source, line);
  }
  return line;
}

function firstLine({ format, text, value }: Decoded, bytes: number): string {
  if (format === 'hex') return `${text.slice(8, 8 + 47).trim()}${bytes > 16 ? ' …' : ''}`;
  const line = value === undefined || typeof value === 'string' ? text : JSON.stringify(value);
  return line.slice(0, 240).replace(/\s+/g, ' ');
}

const values = new WeakMap<Source, { value: unknown }>();

/** A payload as data, made once for each message: a chart reads a hundred of them. */
export function valueOf(source: Source): unknown {
  let kept = values.get(source);
  if (!kept) values.set(source, (kept = { value: decode(source).value }));
  return kept.value;
}

/** What a search looks in: text as it was sent, and what else can be read as compact JSON. */
export function searchText(source: Source): string {
  const { format, text, value } = decode(source);
  if (format === 'hex') return '';
  if (format === 'text') return text;
  return format === 'json' ? new TextDecoder().decode(bytesOf(source.payload_base64)) : JSON.stringify(value);
}

function attempt(format: Format, source: Source): Decoded | undefined {
  try {
    return readers[format](bytesOf(source.payload_base64), source);
  } catch {
    return undefined;
  }
}

function structured(format: Format, value: unknown): Decoded {
  return { format, value, text: JSON.stringify(value, null, 2) };
}

/** Nearly any byte is CBOR by itself: only a list, a map, or what says that it is CBOR (RFC 8949 §3.4.6) is taken for it. */
function isLikelyCBOR([first = 0, second, third]: Uint8Array): boolean {
  return first >> 5 === 4 || first >> 5 === 5 || (first === 0xd9 && second === 0xd9 && third === 0xf7);
}

function readable(text: string): Decoded | undefined {
  return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? undefined : { format: 'text', text };
}

/** Throws where the bytes are no UTF-8; a last character that a cut went through is left out. */
function utf8(bytes: Uint8Array, cut: boolean): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: cut });
}
