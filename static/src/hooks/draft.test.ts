import { describe, expect, test } from 'vitest';
import type { HookEndpoint } from '../api';
import { changesOf, covers, draftErrors, draftOf, groupsOf, newDraft, requestOf, toggled } from './draft';

const endpoint: HookEndpoint = {
  id: 'end_1', name: 'shop', url: 'https://shop.example/hook', events: ['device.*'], topics: ['home/#'], devices: [], format: 'standard',
  headers: { Authorization: '***' }, signature: 'v1', secrets: [], mode: 'parallel', rate: 10, concurrency: 4, timeout_seconds: 15, state: 'active', breaker: 'closed',
  waiting: 0, dead: 0, delivered_24h: 0, failed_24h: 0, created_at: '2026-01-02T03:04:05Z',
};
const good = () => ({ ...newDraft(new URLSearchParams('event=device.offline')), url: 'https://shop.example/hook' });

test('a new one asks for what its link says, and for nothing that was not typed', () => {
  expect(requestOf(good())).toEqual({
    url: 'https://shop.example/hook', events: ['device.offline'], topics: [], devices: [], format: 'standard', headers: {}, signature: 'v1',
    mode: 'parallel', rate: 10, concurrency: 4, timeout_seconds: 15,
  });
});

describe('errors', () => {
  test('none in a good one', () => expect(draftErrors(good())).toEqual({}));
  test.each([
    [{ url: '' }, 'url', /Where/],
    [{ url: 'shop.example' }, 'url', /whole address/],
    [{ url: 'ftp://shop.example/' }, 'url', /https/],
    [{ url: 'https://ada:secret@shop.example/' }, 'url', /header/],
    [{ events: [] }, 'events', /at least one/],
    [{ topics: 'home/#\nhome/#/x' }, 'topics', /home\/#\/x: /],
    [{ kind: 'jq' as const }, 'transform', /program/],
    [{ headers: [{ name: 'X Y', value: '' }] }, 'headers', /no name/],
    [{ headers: [{ name: 'X', value: 'a\r\nb' }] }, 'headers', /no header can carry/],
    [{ headers: [{ name: 'Webhook-Id', value: 'a' }] }, 'headers', /hub’s own/],
    [{ rate: '' }, 'rate', /0.01/],
    [{ concurrency: '1.5' }, 'concurrency', /whole/],
    [{ timeout: '31' }, 'timeout_seconds', /30/],
    [{ secret: 'hunter2' }, 'secret', /whsec_/],
  ])('%j', (changes, field, want) => expect(draftErrors({ ...good(), ...changes })[field as 'url']).toMatch(want));
});

describe('changes', () => {
  test('none where nothing was typed', () => expect(changesOf(draftOf(endpoint), draftOf(endpoint))).toEqual({}));

  // A masked header is part of the map that goes back: the hub keeps the value that it knows.
  test('only what differs', () => {
    const draft = { ...draftOf(endpoint), rate: '2', headers: [{ name: 'Authorization', value: '***' }, { name: 'X-Room', value: 'cellar' }], topics: 'home/#\n\n' };
    expect(changesOf(draftOf(endpoint), draft)).toEqual({ rate: 2, headers: { Authorization: '***', 'X-Room': 'cellar' } });
  });

  test('a transform comes and goes', () => {
    const withOne = { ...endpoint, transform: { kind: 'jq' as const, text: '.data' } };
    expect(changesOf(draftOf(endpoint), { ...draftOf(endpoint), kind: 'jq', program: '.data' })).toEqual({ transform: { kind: 'jq', text: '.data' } });
    expect(changesOf(draftOf(withOne), { ...draftOf(withOne), kind: '' })).toEqual({ no_transform: true });
  });
});

test('types by group', () => {
  const types = ['shell.opened', 'device.online', 'device.offline'].map((type) => ({ type, data: [] }));
  expect(groupsOf(types).map(({ name, types }) => [name, types.map(({ type }) => type)])).toEqual([['device', ['device.offline', 'device.online']], ['shell', ['shell.opened']]]);
});

test('a wider pattern takes the place of what it covers', () => {
  expect(toggled(['device.online', 'shell.opened'], 'device.*', true)).toEqual(['shell.opened', 'device.*']);
  expect(toggled(['device.*', 'x'], '*', true)).toEqual(['*']);
  expect(toggled(['device.*'], 'device.*', false)).toEqual([]);
  expect([covers('device.*', 'device.online'), covers('device.*', 'devices'), covers('*', 'x'), covers('a', 'ab')]).toEqual([true, false, true, false]);
});
