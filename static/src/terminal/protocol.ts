// The messages of adit.shell.v1, as internal/wire/shell.go defines them: one type byte, then a payload.

export const SUBPROTOCOL = 'adit.shell.v1';
/** Most terminal bytes in one message. */
export const CHUNK = 32 << 10;
/** Acknowledge at least this often, in bytes. */
export const ACK_EVERY = 64 << 10;

const OUTPUT = 0;
const STATUS = 1;
const INPUT = 0;
const STEER = 1;
const ACK = 2;
const HEADER = 9;

export interface Status {
  state: 'opening' | 'open' | 'waiting' | 'ended';
  message?: string;
  code?: string;
  exit_status?: number;
  attached?: string[];
  oldest: number;
  next: number;
  cols: number;
  rows: number;
  outlives_hub: boolean;
}

export type Incoming = { kind: 'output'; first: number; data: Uint8Array } | { kind: 'status'; status: Status } | { kind: 'unknown' };

export function parse(message: ArrayBuffer): Incoming {
  const bytes = new Uint8Array(message);
  if (bytes[0] === OUTPUT && bytes.length > HEADER) {
    return { kind: 'output', first: Number(new DataView(message).getBigUint64(1)), data: bytes.subarray(HEADER) };
  }
  if (bytes[0] === STATUS) return { kind: 'status', status: JSON.parse(new TextDecoder().decode(bytes.subarray(1))) as Status };
  return { kind: 'unknown' };
}

function message(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(payload.length + 1);
  all[0] = type;
  all.set(payload, 1);
  return all;
}

/** Input in as many messages as it needs. */
export function input(data: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const messages = [];
  for (let at = 0; at < data.length; at += CHUNK) messages.push(message(INPUT, data.subarray(at, at + CHUNK)));
  return messages;
}

export function resize(cols: number, rows: number): Uint8Array<ArrayBuffer> {
  return message(STEER, new TextEncoder().encode(JSON.stringify({ resize: { cols, rows } })));
}

/** `next` is the number of the next byte wanted. */
export function ack(next: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(HEADER);
  all[0] = ACK;
  new DataView(all.buffer).setBigUint64(1, BigInt(next));
  return all;
}
