import { describe, expect, test } from 'vitest';
import { bounds, groups, merged, queryOf, sentence, wants, type Filter, type LogEvent } from './words';

const none: Filter = { group: '', device: '', user: '', since: '', until: '' };
const event = (id: number, more: Partial<LogEvent> = {}): LogEvent => ({ id, type: 'device.online', at: '2026-01-01T00:00:00Z', data: {}, ...more });

describe('filters', () => {
  test('the query names only what is chosen', () => {
    expect(queryOf(none)).toEqual({});
    expect(queryOf({ ...none, group: 'mqtt', device: 'dev_1' })).toEqual({ type: ['mqtt.*'], device: 'dev_1' });
  });
  test('what happens now is kept by the same rule as the hub’s', () => {
    expect(wants(none, event(1))).toBe(true);
    expect(wants({ ...none, group: 'devices' }, { type: 'install_code.created' })).toBe(true);
    expect(wants({ ...none, group: 'people' }, { type: 'ssh.refused' })).toBe(true);
    expect(wants({ ...none, group: 'people' }, { type: 'stream.opened' })).toBe(false);
    expect(wants({ ...none, device: 'dev_1' }, { type: 'device.online', device_id: 'dev_2' })).toBe(false);
    expect(wants({ ...none, user: 'usr_1' }, { type: 'login.began', user_id: 'usr_1' })).toBe(true);
    expect(wants({ ...none, until: '2026-01-01T00:00:00Z' }, event(1))).toBe(false);
  });
  test('every pattern ends in a star', () => {
    for (const [, patterns] of Object.values(groups)) for (const pattern of patterns) expect(pattern).toMatch(/^[a-z_]+\.\*$/);
  });
  test('times', () => {
    const now = Date.parse('2026-01-31T12:00:00Z');
    expect(bounds('hour', '', '', now)).toEqual({ since: '2026-01-31T11:00:00.000Z', until: '' });
    expect(bounds('', '2026-01-01T00:00', '', now)).toEqual({ since: '', until: '' });
    expect(bounds('own', 'nonsense', '', now)).toEqual({ since: '', until: '' });
    expect(bounds('own', '2026-01-01T00:00', '', now).since).toBe(new Date('2026-01-01T00:00').toISOString());
    expect(bounds('constructor', '', '', now)).toEqual({ since: '', until: '' });
  });
});

test('live events go where their number belongs, each once', () => {
  const list = [event(9), event(5), event(2)];
  expect(merged(list, event(10)).map(({ id }) => id)).toEqual([10, 9, 5, 2]);
  expect(merged(list, event(9))).toBe(list);
  expect(merged(list, event(7)).map(({ id }) => id)).toEqual([9, 7, 5, 2]);
  expect(merged(list, event(1))).toBe(list); // it is on a later page
  expect(merged([], event(3))).toHaveLength(1);
});

describe('sentences', () => {
  test('names and members are filled in, parts without a member are left out', () => {
    expect(sentence(event(1, { data: { address: '192.0.2.1' } }), { device: 'kitchen', user: '' })).toBe('kitchen came online from 192.0.2.1');
    expect(sentence(event(1), { device: 'kitchen', user: '' })).toBe('kitchen came online');
    expect(sentence(event(1, { type: 'stream.opened', data: { target: 'ssh' } }), { device: 'shed', user: 'anna' })).toBe('anna opened ssh on shed');
    expect(sentence(event(1, { type: 'stream.summed', data: { target: 'ssh', count: 0 } }), { device: 'shed', user: '' })).toContain('0 more streams of somebody');
  });
  test('a value that looks like a pattern stays what it is', () => {
    expect(sentence(event(1, { type: 'login.failed', data: { email: '{address}[x]', address: 'a' } }), { device: '', user: '' }))
      .toBe('A sign-in as {address}[x] failed, from a');
  });
  test('endpoints and sources have names, which a removed one keeps where the event has it', () => {
    const names = { device: '', user: 'anna', hooks: new Map([['src_1', 'garage'], ['end_1', 'shop']]) };
    expect(sentence(event(1, { type: 'hook.received', data: { source: 'src_1', topic: '' } }), names)).toBe('A request came in at garage');
    expect(sentence(event(1, { type: 'hook.source_removed', data: { source: 'src_2' } }), names)).toBe('The webhook source src_2 was removed by anna');
    expect(sentence(event(1, { type: 'hook.delivery_dead', data: { endpoint: 'end_1', error: 'no.' } }), names)).toBe('A delivery to shop was given up: no.');
    expect(sentence(event(1, { type: 'hook.source_removed', data: { source: 'src_2', name: 'garage' } }), names)).toBe('The webhook source garage was removed by anna');
    expect(sentence(event(1, { type: 'hook.source_changed', data: { source: 'src_2', name: 'garage', changed: ['action', 'rate'] } }), names)).toBe('The webhook source garage was changed by anna: action, rate');
    expect(sentence(event(1, { type: 'hook.endpoint_removed', data: { endpoint: 'end_2', name: 'old' } }), names)).toBe('The webhook endpoint old was removed by anna');
  });
  test('a type that the page does not know shows its data', () => {
    expect(sentence({ type: 'new.thing', data: { a: 1, b: ['x'] } }, { device: '', user: '' })).toBe('a: 1, b: ["x"]');
    expect(sentence({ type: 'constructor', data: {} }, { device: '', user: '' })).toBe('constructor');
  });
});
