import { expect, test } from 'vitest';
import { againOf, doesWords, outcomeOf, refusedSince, requestAskOf, requestFilterOf, shapeOf, sourceConditionOf, verifiedWords } from './request';

const now = Date.parse('2026-01-02T03:04:05Z');

test('the filter is what stands in the address, as far as it is one', () => {
  expect(requestFilterOf(new URLSearchParams('source=garage&state=failed&since=24h'))).toEqual({ source: 'garage', state: 'failed', since: '24h' });
  expect(requestFilterOf(new URLSearchParams('state=toString'))).toEqual({ source: '', state: '', since: '' });
  expect(requestAskOf({ source: 'garage', state: '', since: '1h' }, now)).toEqual({ source: 'garage', since: '2026-01-02T02:04:05.000Z' });
  expect(requestAskOf({ source: '', state: '', since: 'yesterday' }, now)).toEqual({});
});

test('why it failed comes before what it became', () => {
  expect(outcomeOf({ state: 'done', topic: 'garage/door' }, '')).toBe('garage/door');
  expect(outcomeOf({ state: 'failed', topic: 'garage/door', error: 'It expired.' }, '')).toBe('It expired.');
  expect(outcomeOf({ state: 'done', device_id: 'dev_1' }, 'kitchen')).toBe('command on kitchen');
  expect(outcomeOf({ state: 'done' }, '')).toBe('kept');
  expect(outcomeOf({ state: 'waiting' }, '')).toBe('');
});

// A list in which each failure of a program had a green dot.
test('what was done and answered by a failure does not look well', () => {
  expect(shapeOf({ state: 'done', status: 200 }).of).toBe('done');
  expect(shapeOf({ state: 'done' }).of).toBe('done');
  expect(shapeOf({ state: 'done', status: 404 }).of).toBe('done'); // an answer as any other
  expect(shapeOf({ state: 'done', status: 502 })).toEqual({ of: 'failing', word: 'Answered by a failure' });
  expect(shapeOf({ state: 'done', status: 200, exit_code: 1 }).of).toBe('failing');
  expect(shapeOf({ state: 'failed', status: 504 }).of).toBe('failed');
});

test('when it is tried again', () => {
  expect(againOf({ state: 'waiting', next_at: '2026-01-02T03:04:15Z' }, now)).toBe('Next try in 10 s');
  expect(againOf({ state: 'waiting' }, now)).toBe('Under way');
  expect(againOf({ state: 'done' }, now)).toBe('');
});

test('a refusal counts until something is accepted', () => {
  const refused = { enabled: true, last_refused: 'The header X is missing.', last_refused_at: '2026-01-02T03:00:00Z' };
  expect(sourceConditionOf(refused)).toBe('failing');
  expect(sourceConditionOf({ ...refused, last_at: '2026-01-02T02:00:00Z' })).toBe('failing');
  expect(sourceConditionOf({ ...refused, last_at: '2026-01-02T03:01:00Z' })).toBe('well');
  expect(sourceConditionOf({ enabled: true })).toBe('quiet');
  expect(sourceConditionOf({ ...refused, enabled: false })).toBe('paused');
  expect(refusedSince(refused, undefined)).toMatch(/missing/);
});

test('what a source does, and how it was sure of the sender', () => {
  expect(doesWords({ kind: 'store' }, '')).toBe('only keeps');
  expect(doesWords({ kind: 'publish', topic: 'a/b' }, '')).toBe('a/b');
  expect(doesWords({ kind: 'command', command: 'open' }, 'kitchen')).toBe('open on kitchen');
  expect(verifiedWords('github')).toBe('The signature fits');
  expect(verifiedWords('gitlab')).toBe('The token fits');
  expect(verifiedWords('none')).toMatch(/Not verified/);
});
