import { describe, expect, test } from 'vitest';
import type { HookSource } from '../api';
import { frontOf, newSourceDraft, sourceChangesOf, sourceDraftOf, sourceErrors, sourceRequestOf, topicError, topicFault, type SourceDraft } from './source-draft';

const source: HookSource = {
  id: 'src_1', slug: 'garage', url: 'https://hub.example/hook/garage', name: 'garage', verify: { kind: 'slack', tolerance_seconds: 300 }, secrets: [], methods: ['POST'],
  max_bytes: 1_048_576, rate: 20, burst: 50, dedupe: { hours: 24 }, expires_seconds: 3600, offline: 'refuse', enabled: true, accepted: 0, refused: 0,
  action: { kind: 'publish', topic: 'garage/door', qos: 1, retain: false, correlation: 'v5' }, created_at: '2026-01-02T03:04:05Z',
};
const draft = (changes: Partial<SourceDraft>) => ({ ...newSourceDraft('bearer', 'garage'), ...changes });

test('a new one asks for what was typed, and leaves the secret to the hub', () => {
  expect(sourceRequestOf(draft({ name: ' Door ' }))).toEqual({
    slug: 'garage', name: 'Door', verify: { kind: 'bearer' }, methods: ['POST'], max_bytes: 1_048_576, rate: 20, burst: 50, dedupe: { hours: 24 }, expires_seconds: 3600,
    offline: 'refuse', action: { kind: 'publish', topic: 'garage/door', qos: 1, retain: false, correlation: 'v5' },
  });
});

test('where the address is the secret neither is sent', () => {
  const request = sourceRequestOf({ ...newSourceDraft('none', ''), slug: 'typed-before', secret: 'typed before' });
  expect(request).not.toHaveProperty('slug');
  expect(request).not.toHaveProperty('secret');
});

test('a source that only keeps has no program, whatever was typed before', () => {
  const request = sourceRequestOf(draft({ does: 'store', shape: 'jq', program: '.body' }));
  expect(request.action).toEqual({ kind: 'store' });
  expect(request).not.toHaveProperty('transform');
});

test('a command takes its values, an empty one too', () => {
  expect(sourceRequestOf(draft({ does: 'command', device: 'dev_1', command: 'open', arguments: { door: '{{ .body.door }}', note: '' } })).action)
    .toEqual({ kind: 'command', device: 'dev_1', command: 'open', arguments: { door: '{{ .body.door }}', note: '' } });
});

describe('errors', () => {
  test.each([
    [{ slug: 'Garage' }, 'slug', /a–z/],
    [{ slug: 'requests' }, 'slug', /requests/],
    [{ name: 'ö'.repeat(51) }, 'name', /100 bytes/],
    [{ topic: '' }, 'topic', /Which topic|which topic/],
    [{ topicPrefix: 'a/#' }, 'topic_prefix', /no \+/],
    [{ does: 'command' }, 'device', /Choose/],
    [{ does: 'command', device: 'dev_1' }, 'command', /Choose/],
    [{ shape: 'jq' }, 'transform', /program/],
    [{ methods: [] }, 'methods', /at least one/],
    [{ kilobytes: '30000' }, 'max_bytes', /25600/],
    [{ rate: '' }, 'rate', /0.01/],
    [{ burst: '1.5' }, 'burst', /whole/],
    [{ dedupeHeader: 'X Y' }, 'dedupe', /no name/],
    [{ dedupeHours: '169' }, 'dedupe', /168/],
  ] as [Partial<SourceDraft>, string, RegExp][])('%j', (changes, field, want) => expect(sourceErrors(draft(changes))[field as 'topic']).toMatch(want));
});

describe('topics', () => {
  test.each([
    ['garage/door', '', ''], ['github/{{ .body.a }}', '', ''], ['{{ .body.a }}', 'garage', ''], ['{{ .body.a }}', '', /any topic/], ['a/#/{{ .b }}', '', /filters/], ['a/+', '', /no \+/],
  ] as [string, string, string | RegExp][])('as written: %s below “%s”', (topic, prefix, want) => expect(topicError(topic, prefix)).toMatch(want === '' ? /^$/ : want));
  test.each([
    ['garage/door', false, ''], ['garage//door', false, ''], ['garage//door', true, /empty/], ['a/$x', true, /no \+/], ['replies/x', true, /answers/], ['a/'.repeat(16) + 'a', true, /16 levels/],
    ['ö'.repeat(129), true, /256/], ['a\nb', true, /control/], ['', true, /empty/],
  ] as [string, boolean, string | RegExp][])('as it comes out: %j', (topic, made, want) => expect(topicFault(topic, made)).toMatch(want === '' ? /^$/ : want));
  test('what they lie below', () => {
    expect(frontOf('github/{{ .a }}/x', '')).toBe('github/');
    expect(frontOf('{{ .a }}', 'garage/')).toBe('garage/');
  });
});

describe('changes', () => {
  const first = sourceDraftOf(source);
  test('none where nothing was typed', () => expect(sourceChangesOf(first, sourceDraftOf(source))).toEqual({}));
  test('only what was', () => {
    expect(sourceChangesOf(first, { ...first, rate: '5', topic: 'garage/gate' })).toEqual({
      rate: 5, action: { kind: 'publish', topic: 'garage/gate', qos: 1, retain: false, correlation: 'v5' },
    });
  });
  test('a program comes and goes', () => {
    expect(sourceChangesOf(first, { ...first, shape: 'jq', program: '.body' })).toEqual({ transform: { kind: 'jq', text: '.body' } });
    const shaped = sourceDraftOf({ ...source, transform: { kind: 'jq', text: '.body' } });
    expect(sourceChangesOf(shaped, { ...shaped, shape: '' })).toEqual({ no_transform: true });
  });
});
