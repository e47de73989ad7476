import { describe, expect, test } from 'vitest';
import { base64Of, isCut, same, shownBytes, type Seen } from './message';
import { fromNDJSON, toNDJSON } from './ndjson';
import { draftErrors, draftOf, emptyDraft, requestOf } from './publish';

const seen: Seen = { id: 1, ms: 5, topic: 'a/b', payload_base64: 'b24=', bytes: 2, qos: 1, retain: true, at: '2026-01-01T00:00:00Z', user_properties: [{ name: 'k', value: 'v' }] };

describe('NDJSON', () => {
  test('what is written is read back', () => {
    const { id: _, ms: __, ...message } = seen;
    const read = fromNDJSON(toNDJSON([seen, seen]));
    expect(read).toEqual({ messages: [message, message], problems: [], refused: 0 });
  });

  test('lines that are no message are told, and cost nothing else', () => {
    const read = fromNDJSON('{"topic":"a","payload_base64":""}\n\nno\n{"payload_base64":""}\n{"topic":"b","payload_base64":"!"}\r\n');
    expect(read.messages).toEqual([{ topic: 'a', payload_base64: '', bytes: 0, qos: 0, retain: false, at: '1970-01-01T00:00:00.000Z' }]);
    expect(read.problems).toEqual([{ line: 3, text: 'is no JSON' }, { line: 4, text: 'has no topic' }, { line: 5, text: 'has no payload_base64' }]);
    expect(fromNDJSON('x\n'.repeat(50))).toMatchObject({ refused: 50, problems: { length: 5 } });
  });
});

describe('a message', () => {
  test.each([['', 0], ['AA==', 1], ['AAA=', 2], ['AAAA', 3]])('%j carries %i bytes', (payload_base64, bytes) => {
    expect(shownBytes({ payload_base64 })).toBe(bytes);
    expect([isCut({ payload_base64, bytes }), isCut({ payload_base64, bytes: bytes + 1 })]).toEqual([false, true]);
  });
  test('that came before is known again', () => {
    expect([same(seen, { ...seen }), same(seen, { ...seen, payload_base64: 'b2Y=' }), same(undefined, seen)]).toEqual([true, false, false]);
  });
});

describe('publishing', () => {
  const draft = { ...emptyDraft(), topic: 'cmds/x', payload: '{"on":true}' };

  test('a plain draft asks for no more than it says', () => {
    expect(requestOf(draft, '')).toEqual({ topic: 'cmds/x', payload: '{"on":true}', qos: 0, retain: false });
  });

  test('everything that MQTT 5 has', () => {
    const full = {
      ...draft, kind: 'base64' as const, payload: 'AA\n==', content_type: 'x', response_topic: 'r', correlation: 'ü', expiry: '60',
      properties: [{ name: 'a', value: '1' }, { name: '', value: '' }], request: true, wait: '2.5',
    };
    expect(draftErrors(full)).toEqual({});
    expect(requestOf(full, 'kitchen')).toEqual({
      topic: 'cmds/x', payload_base64: 'AA==', qos: 0, retain: false, device: 'kitchen', content_type: 'x', response_topic: 'r',
      correlation_base64: base64Of(new TextEncoder().encode('ü')), expiry_seconds: 60, user_properties: [{ name: 'a', value: '1' }], wait_seconds: 2.5,
    });
  });

  test.each([
    ['topic', { topic: 'a/#' }], ['payload', { kind: 'json', payload: '{' }], ['payload', { kind: 'base64', payload: 'AAA' }], ['expiry', { expiry: '1.5' }],
    ['wait', { request: true, wait: '31' }], ['response_topic', { response_topic: '+' }], ['properties', { properties: [{ name: '', value: 'x' }] }],
  ] as const)('%s is checked', (field, change) => expect(Object.keys(draftErrors({ ...draft, ...(change as object) }))).toEqual([field]));

  test('a saved message comes back as it was written', () => {
    expect(draftOf(requestOf({ ...draft, kind: 'json', correlation: 'ü', request: true, wait: '3' }, ''))).toEqual({ ...draft, kind: 'json', correlation: 'ü', request: true, wait: '3' });
  });
});
