import { expect, test } from 'vitest';
import type { HookAttempt } from '../api';
import { base64Of } from '../mqtt/message';
import { differenceOf, isSame } from './differs';

const bytes = (text: string) => base64Of(new TextEncoder().encode(text));
const success: HookAttempt = {
  number: 1, at: '2026-01-02T03:04:05Z', took_ms: 84, method: 'POST', url: 'https://shop.example/hook',
  request_headers: [{ name: 'content-type', value: 'application/json' }, { name: 'webhook-id', value: 'msg_1' }, { name: 'webhook-signature', value: 'v1,a' }],
  request_body: bytes('{"type":"device.online","n":1}'), status: 200, response_headers: [{ name: 'Date', value: 'today' }], response_body: bytes('ok'),
};

test('only what says something differs', () => {
  const again = { ...success, request_headers: success.request_headers.toReversed().map((h) => (h.name === 'webhook-id' ? { ...h, value: 'msg_2' } : h)), response_headers: [] };
  const { request, response } = differenceOf(success, again);
  expect([isSame(request), isSame(response)]).toEqual([true, true]);
});

test('a body and a status that changed are told', () => {
  const { request, response } = differenceOf(success, { ...success, request_body: bytes('{"type":"device.online","n":2}'), status: 503, response_body: bytes('busy') });
  expect(request.filter(({ kind }) => kind !== 'same').map(({ kind, text }) => `${kind} ${text.trim()}`)).toEqual(['out "n": 1,', 'in "n": 2,']);
  expect(response.filter(({ kind }) => kind === 'in').map(({ text }) => text)).toEqual(['503', 'busy']);
});

test('no answer is the error', () => {
  const { status, response_body, ...unanswered } = success;
  const { response } = differenceOf(success, { ...unanswered, error: 'connection refused' });
  expect([status, response_body, response.find(({ kind }) => kind === 'in')?.text]).toEqual([200, bytes('ok'), 'connection refused']);
});
