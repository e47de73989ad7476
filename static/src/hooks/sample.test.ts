import { expect, test } from 'vitest';
import sent from '../../../internal/webhook/outgoing/testdata/message.json?raw'; // what the hub sends, as its own test has it
import { envelopeOf, MESSAGE, previewOf, typesOf } from './sample';

const types = [{ type: 'device.offline', data: ['name', 'reason'] }, { type: 'device.online', data: ['name'] }, { type: 'hub.started', data: [] }];
const now = Date.parse('2026-01-02T03:04:05Z');

test('the types that a draft asks for', () => {
  expect(typesOf({ events: ['device.*', 'own.type'], topics: 'home/#' }, types)).toEqual([MESSAGE, 'device.offline', 'device.online', 'own.type']);
});

test('an event has its members, a message a topic that its filter matches', () => {
  const event = envelopeOf('device.offline', { topics: '' }, types, { id: 'dev_1', name: 'gate' }, now);
  expect(event).toMatchObject({ type: 'device.offline', data: { name: 'gate', reason: 'timeout' }, device: { id: 'dev_1', name: 'gate' } });
  expect(envelopeOf('hub.started', { topics: '' }, types, undefined, now).device).toBeUndefined();
  expect(envelopeOf(MESSAGE, { topics: 'devices/+/climate/#' }, types, { id: 'dev_1', name: 'gate' }, now).topic).toBe('devices/gate/climate/temperature');
});

test('a message has its payload and what came with it as data, and alone its payload', () => {
  const envelope = envelopeOf(MESSAGE, { topics: 'devices/+/climate' }, types, { id: 'dev_1', name: 'gate' }, now);
  expect(previewOf('standard', envelope).body).toBe(sent.trimEnd());
  expect(JSON.parse(previewOf('raw', envelope).body)).toEqual({ temp: 21.5 });
  expect(JSON.parse(previewOf('cloudevents', envelope).body)).toMatchObject({ subject: 'devices/gate/climate', data: { temp: 21.5 } });
});

test('each format', () => {
  const envelope = envelopeOf('device.online', { topics: '' }, types, undefined, now);
  expect(JSON.parse(previewOf('standard', envelope).body)).toMatchObject({ type: 'device.online', timestamp: '2026-01-02T03:04:05.000Z', data: { name: 'kitchen' } });
  expect(JSON.parse(previewOf('cloudevents', envelope).body)).toMatchObject({ specversion: '1.0', type: 'hub.device.online', data: { name: 'kitchen' } });
  const binary = previewOf('cloudevents-binary', envelope);
  expect(JSON.parse(binary.body)).toEqual({ name: 'kitchen' });
  expect(binary.headers).toContainEqual(['ce-type', 'hub.device.online']);
  expect(previewOf('standard', envelope, 'it came')).toEqual({ headers: [['content-type', 'text/plain; charset=utf-8']], body: 'it came' });
  expect(JSON.parse(previewOf('cloudevents', envelope, '{"a":1}').body).data).toEqual({ a: 1 });
});
