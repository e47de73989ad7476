// Messages as the console holds them, and the bytes that they carry.

import type { MQTTMessage } from '../api';

/** A message that was seen: numbered in the order of arrival, its time in ms since the epoch. */
export interface Seen extends MQTTMessage {
  id: number;
  ms: number;
}

/** The bytes of base64, none where it is malformed. */
export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

export function base64Of(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** How many bytes of its payload a message carries: the hub sends the first 4,096. */
export function shownBytes(message: Pick<MQTTMessage, 'payload_base64'>): number {
  const text = message.payload_base64;
  return (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
}

/** Whether a part of the payload is missing. */
export function isCut(message: Pick<MQTTMessage, 'payload_base64' | 'bytes'>): boolean {
  return message.bytes > shownBytes(message);
}

/** Whether two messages are one: a new connection begins with the last message of each topic, which may be known. */
export function same(a: MQTTMessage | undefined, b: MQTTMessage): boolean {
  return a !== undefined && a.topic === b.topic && a.at === b.at && a.bytes === b.bytes && a.payload_base64 === b.payload_base64;
}

/** The time of day on this machine, to the millisecond. */
export function clockTime(ms: number): string {
  const time = new Date(ms);
  const two = (part: number) => String(part).padStart(2, '0');
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

/** Text of several lines from a stranger: control and bidirectional characters, which could hide or reorder, become �. */
export function plainLines(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, '\ufffd');
}
