import { describe, expect, test, vi } from 'vitest';
import type { Device } from '../api';
import { Batch, noticedWithin, select, statusOf, tagCounts } from './devices';

function device(name: string, more: Partial<Device> = {}): Device {
  return {
    id: `dev_${name}`, name, status: 'active', online: true, via: 'agent', tags: [], created_at: '2026-01-01T00:00:00Z',
    logins: ['*'], targets: ['ssh'], held_logins: [], gate_ends_ssh: false, may_manage: true, ...more,
  };
}

const all = [
  device('pi10', { tags: ['pi', 'lab'], facts: { os: 'Debian GNU/Linux 13', arch: 'arm64' } }),
  device('pi2', { tags: ['pi'], online: false, last_seen_at: '2026-01-02T00:00:00Z' }),
  device('gate', { status: 'pending', online: false, cause: 'pending', address: '203.0.113.7' }),
  device('nas', { cause: 'clone' }),
];
const view = { text: '', tag: '', status: '', sort: 'name' as const };
const names = (devices: Device[]) => devices.map((d) => d.name);

test.each([[15, 40], [16, 40], [17, 43], [60, 150], [600, 1500]])('pinged every %s s, offline is noticed within %s s', (ping, within) => {
  expect(noticedWithin(ping)).toBe(within);
});

describe('select', () => {
  test('sorts names as people count', () => expect(names(select(all, view))).toEqual(['gate', 'nas', 'pi2', 'pi10']));
  test('needs every word, in any field', () => {
    expect(names(select(all, { ...view, text: 'DEBIAN arm' }))).toEqual(['pi10']);
    expect(names(select(all, { ...view, text: '203.0' }))).toEqual(['gate']);
    expect(names(select(all, { ...view, text: 'debian nas' }))).toEqual([]);
  });
  test('by tag and status', () => {
    expect(names(select(all, { ...view, tag: 'pi' }))).toEqual(['pi2', 'pi10']);
    expect(names(select(all, { ...view, status: 'trouble' }))).toEqual(['nas']);
  });
  test('by status, what waits for a person first', () => {
    expect(names(select(all, { ...view, sort: 'status' }))).toEqual(['gate', 'nas', 'pi10', 'pi2']);
  });
  test('500 devices well within a frame', () => {
    const many = Array.from({ length: 500 }, (_, i) => device(`d${i}`, { tags: ['pi'] }));
    const took = Array.from({ length: 10 }, () => { // the machine may be busy with other things
      const begin = performance.now();
      expect(select(many, { ...view, text: 'd49' })).toHaveLength(11);
      return performance.now() - begin;
    });
    expect(Math.min(...took)).toBeLessThan(50);
  });
});

test('statusOf', () => expect(all.map(statusOf)).toEqual(['online', 'offline', 'pending', 'trouble']));
test('tagCounts', () => expect(tagCounts(all)).toEqual([['pi', 2], ['lab', 1]]));

test('Batch hands over a burst once', () => {
  vi.useFakeTimers();
  const flushed: string[][] = [];
  const batch = new Batch((ids) => void flushed.push(ids));
  batch.add('a');
  batch.add('b');
  batch.add('a');
  vi.advanceTimersByTime(100);
  batch.add('c');
  vi.advanceTimersByTime(100);
  vi.useRealTimers();
  expect(flushed).toEqual([['a', 'b'], ['c']]);
});
