import { expect, test } from 'vitest';
import type { Stream } from '../api';
import { matching, mayClose, ordered, stillClosing, totals } from './streams';

function stream(id: string, more: Partial<Stream> = {}): Stream {
  return {
    id, device_id: 'dev_1', device_name: 'kitchen', user_id: 'usr_dan', user_handle: 'dan', target: 'ssh', via: 'cli',
    opened_at: '2026-01-01T00:00:00Z', bytes_in: 0, bytes_out: 0, ...more,
  };
}

const all = [
  stream('1', { device_name: 'pi10', opened_at: '2026-01-01T00:00:02Z' }),
  stream('2', { device_name: 'pi2', via: 'gate', address: '203.0.113.7' }),
  stream('3', { device_name: 'pi10', user_handle: 'eve', target: 'tcp:127.0.0.1:1883', via: 'port', opened_at: '2026-01-01T00:00:01Z' }),
];
const ids = (streams: Stream[]) => streams.map((s) => s.id);

test('ordered by device as people count, then by age', () => {
  expect(ids(ordered(all))).toEqual(['2', '3', '1']);
});

test.each([
  ['', ['1', '2', '3']], ['PI10', ['1', '3']], ['pi10 eve', ['3']], ['stock', ['2']], ['203.0.113', ['2']], ['1883', ['3']], ['dedicated', ['3']], ['pi10 stock', []],
])('filter %s', (text, want) => expect(ids(matching(all, text))).toEqual(want));

test('own streams, and for managers all', () => {
  expect(mayClose(all[0]!, { id: 'usr_dan', manages: false })).toBe(true);
  expect(mayClose(all[0]!, { id: 'usr_eve', manages: false })).toBe(false);
  expect(mayClose(all[0]!, { id: 'usr_eve', manages: true })).toBe(true);
});

test('a stream is closing until it is gone', () => {
  expect(stillClosing(['1', '9'], all)).toEqual(['1']);
  expect(stillClosing(['1'], [])).toEqual([]);
});

test('totals', () => {
  expect(totals([stream('1', { bytes_in: 1, bytes_out: 2 }), stream('2', { bytes_in: 10, bytes_out: 20 })])).toEqual({ bytes_in: 11, bytes_out: 22 });
  expect(totals([])).toEqual({ bytes_in: 0, bytes_out: 0 });
});
