// A request to a source from this page, as its sender would make it.

import type { HookSource } from '../api';
import { base64Of } from '../mqtt/message';
import { fromReply, Problem } from '../problem';
import type { Sender } from './senders';
import { signatureOf } from './sign';

export interface Test {
  secret: string;
  body: string;
  id: string;
  /** As "5s"; empty is not to wait. */
  wait: string;
}

export interface TestAnswer {
  status: number;
  tookMs: number;
  /** Base64. */
  body: string;
  /** What the hub says of a refusal; empty where it is an answer. */
  detail: string;
  duplicate: boolean;
  /** The id of the request, where the hub tells. */
  request: string;
}

/** Throws an Error for people where it cannot be sent. No cookie goes with it: it counts only by what signs it. */
export async function sendTest(source: HookSource, sender: Sender, { secret, body, id, wait }: Test): Promise<TestAnswer> {
  const method = source.methods.includes('POST') ? 'POST' : (source.methods.find((each) => each !== 'GET') ?? 'GET');
  const sent = method === 'GET' ? '' : body;
  const headers = {
    ...(sent && { 'Content-Type': 'application/json' }), ...sender.headers, ...(sender.idHeader && { [sender.idHeader]: id }),
    ...(await signatureOf(source.verify, secret, sent, id, Date.now())),
  };
  const path = new URL(source.url).pathname + (wait && `?wait=${wait}`);
  const begun = performance.now();
  const reply = await fetch(path, { method, headers, credentials: 'omit', cache: 'no-store', redirect: 'manual', ...(sent && { body: sent }) }).catch(() => {
    throw new Problem('unreachable');
  });
  return answerOf(reply, new Uint8Array(await reply.arrayBuffer()), Math.round(performance.now() - begun));
}

function answerOf(reply: Response, bytes: Uint8Array, tookMs: number): TestAnswer {
  const told = read(bytes);
  const problem = reply.headers.get('Content-Type')?.startsWith('application/problem+json') ?? false;
  return {
    status: reply.status, tookMs, body: base64Of(bytes), detail: problem ? fromReply(reply.status, told).message : '',
    duplicate: reply.headers.get('adit-duplicate') === 'true', request: idIn(reply.headers.get('Location') ?? '') || (reply.status === 202 ? idIn(String(told['id'] ?? '')) : ''),
  };
}

const idIn = (text: string) => /req_[\w-]+/.exec(text)?.[0] ?? '';

function read(bytes: Uint8Array): Record<string, unknown> {
  try {
    return Object(JSON.parse(new TextDecoder().decode(bytes))) as Record<string, unknown>;
  } catch {
    return {};
  }
}
