// Messages as a file: one JSON object a line, with the API's own names.

import type { MQTTMessage } from '../api';
import type { Seen } from './message';

export function toNDJSON(messages: readonly Seen[]): string {
  return messages.map(({ id: _, ms: __, ...message }) => `${JSON.stringify(message)}\n`).join('');
}

export interface Imported {
  messages: MQTTMessage[];
  /** The first lines that are no message, with why. */
  problems: { line: number; text: string }[];
  refused: number;
}

const PROBLEMS = 5;

/** Reads such a file. A line that is no message is told and left out. */
export function fromNDJSON(text: string): Imported {
  const result: Imported = { messages: [], problems: [], refused: 0 };
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return;
    const read = message(line);
    if (typeof read !== 'string') return void result.messages.push(read);
    result.refused++;
    if (result.problems.length < PROBLEMS) result.problems.push({ line: i + 1, text: read });
  });
  return result;
}

function message(line: string): MQTTMessage | string {
  let found: Partial<MQTTMessage> | null;
  try {
    found = JSON.parse(line) as Partial<MQTTMessage> | null;
  } catch {
    return 'is no JSON';
  }
  if (typeof found?.topic !== 'string' || found.topic === '') return 'has no topic';
  if (typeof found.payload_base64 !== 'string' || !isBase64(found.payload_base64)) return 'has no payload_base64';
  const at = typeof found.at === 'string' && !Number.isNaN(Date.parse(found.at)) ? found.at : new Date(0).toISOString();
  const bytes = Math.max(Number(found.bytes) || 0, Math.floor((found.payload_base64.replace(/=+$/, '').length * 3) / 4));
  return { ...found, topic: found.topic, payload_base64: found.payload_base64, at, bytes, qos: [0, 1, 2].includes(found.qos!) ? found.qos! : 0, retain: found.retain === true };
}

function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}
