// Words, filter and order of open streams, free of any view.

import type { Stream } from '../api';

/** The doors, as a person knows them. */
export const doors: Record<Stream['via'], string> = {
  cli: 'adit', shell: 'browser shell', gate: 'stock ssh', port: 'dedicated port', binary: 'API', mqtt: 'MQTT',
};

/** Streams that match every word of the filter, in any of what a row shows. */
export function matching(streams: readonly Stream[], text: string): Stream[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return streams.filter((stream) => {
    const hay = [stream.device_name, stream.user_handle, stream.target, doors[stream.via], stream.via, stream.address].join('\n').toLowerCase();
    return words.every((word) => hay.includes(word));
  });
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** By device, then the oldest first: a stream that opens moves no row that somebody is about to click. */
export function ordered(streams: readonly Stream[]): Stream[] {
  return streams.toSorted((a, b) => collator.compare(a.device_name, b.device_name) || a.opened_at.localeCompare(b.opened_at) || a.id.localeCompare(b.id));
}

/** Whether this person may end it: their own, or any where they manage the hub. */
export function mayClose(stream: Pick<Stream, 'user_id'>, me: { id: string; manages: boolean }): boolean {
  return me.manages || stream.user_id === me.id;
}

/** Those being closed that are still there. */
export function stillClosing(closing: readonly string[], streams: readonly Pick<Stream, 'id'>[]): string[] {
  return closing.filter((id) => streams.some((stream) => stream.id === id));
}

export function totals(streams: readonly Stream[]): { bytes_in: number; bytes_out: number } {
  return streams.reduce((sum, stream) => ({ bytes_in: sum.bytes_in + stream.bytes_in, bytes_out: sum.bytes_out + stream.bytes_out }), { bytes_in: 0, bytes_out: 0 });
}
