// The bytes of a request or a response, as JSON, text or hex.

import { hexDump } from '../hex';

export type Kind = 'json' | 'text' | 'hex';

export const kindNames: Record<Kind, string> = { json: 'JSON', text: 'Text', hex: 'Hex' };

/** So much is drawn; all of it can be saved. In bytes. */
export const SHOWN = 64 * 1024;

/** The kinds that fit, the most telling one first. Hex always fits. `cut` is whether bytes are missing at the end. */
export function kindsOf(bytes: Uint8Array, cut: boolean): Kind[] {
  const text = read(bytes, cut);
  if (text === undefined) return ['hex'];
  return !cut && bytes.length <= SHOWN && structured(text) ? ['json', 'text', 'hex'] : ['text', 'hex'];
}

/** As text in which nothing hides or turns the order: such characters stand by their names, as ⟨U+202E⟩. */
export function textOf(bytes: Uint8Array, cut: boolean): string {
  return visible(read(bytes.subarray(0, SHOWN), cut || bytes.length > SHOWN) ?? '');
}

export function hexOf(bytes: Uint8Array): string {
  return hexDump(bytes.subarray(0, SHOWN));
}

/** A number as it was written, where JavaScript would write it otherwise: 12345678901234567890 or 21.50. */
export class Digits {
  constructor(readonly text: string) {}
}

type Reviver = (this: unknown, key: string, value: unknown, context?: { source?: string }) => unknown;

export function jsonOf(bytes: Uint8Array): unknown {
  const exact: Reviver = (_, value, context) =>
    typeof value === 'number' && context?.source !== undefined && context.source !== String(value) ? new Digits(context.source) : value;
  return JSON.parse(read(bytes, false) ?? 'null', exact as (this: unknown, key: string, value: unknown) => unknown);
}

export function visible(text: string): string {
  const named = (char: string) => `⟨U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  return text.replace(/\r\n/g, '\n').replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, named);
}

/** For comparing: indented JSON where it is JSON, with members in the order of their names. */
export function comparable(bytes: Uint8Array, cut: boolean): string {
  const kind = kindsOf(bytes, cut)[0];
  if (kind === 'json') return visible(JSON.stringify(sorted(jsonOf(bytes)), null, 2));
  return kind === 'text' ? textOf(bytes, cut) : hexOf(bytes);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value instanceof Digits) return value.text;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, member]) => [name, sorted(member)]));
}

function read(bytes: Uint8Array, cut: boolean): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: cut });
    return /[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

function structured(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object' && /^\s*[[{]/.test(text);
  } catch {
    return false;
  }
}
