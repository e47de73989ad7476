import { afterEach, expect, test, vi } from 'vitest';
import type { HookSource } from '../api';
import { senderOf } from './senders';
import { sendTest } from './test-send';

const source = { url: 'https://hub.example/hook/garage', verify: { kind: 'github' }, methods: ['POST'] } as HookSource;
const sent = { secret: 'secret of github', body: '{"a":1}', id: '7', wait: '5s' };

function answers(body: string, init: ResponseInit) {
  const fake = vi.fn(async (_url: string, _init: RequestInit) => new Response(body, init));
  vi.stubGlobal('fetch', fake);
  return fake;
}
afterEach(() => vi.unstubAllGlobals());

test('it goes to this hub without a cookie, signed, and an answer is shown as it came', async () => {
  const fake = answers('opened', { status: 200, headers: { Location: '/hook/requests/req_-a_b-c?key=k-_1', 'Content-Type': 'text/plain' } });
  expect(await sendTest(source, senderOf('github')!, sent)).toMatchObject({ status: 200, body: btoa('opened'), detail: '', duplicate: false, request: 'req_-a_b-c' });
  const [url, init] = fake.mock.calls[0]!;
  expect(url).toBe('/hook/garage?wait=5s');
  expect(init).toMatchObject({ method: 'POST', body: '{"a":1}', credentials: 'omit' });
  expect(init.headers).toMatchObject({ 'X-GitHub-Event': 'push', 'X-GitHub-Delivery': '7', 'X-Hub-Signature-256': expect.stringMatching(/^sha256=[0-9a-f]{64}$/) });
});

test('a refusal says why, and an acceptance which request it is', async () => {
  answers('{"code":"unauthenticated","detail":"The header is missing."}', { status: 401, headers: { 'Content-Type': 'application/problem+json' } });
  expect(await sendTest(source, senderOf('github')!, sent)).toMatchObject({ status: 401, detail: 'The header is missing.' });
  answers('{"id":"req_1","queued":true}', { status: 202, headers: { 'adit-duplicate': 'true' } });
  expect(await sendTest(source, senderOf('github')!, { ...sent, wait: '' })).toMatchObject({ request: 'req_1', duplicate: true });
});
