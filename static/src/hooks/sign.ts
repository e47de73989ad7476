// What a sender puts into a request to show that it is its own, made in the browser: for a test of a source whose secret
// a person has at hand. The secret stays in the page.

import type { HookSource } from '../api';
import { base64Of, bytesOf } from '../mqtt/message';

type Verify = HookSource['verify'];
type Headers = Record<string, string>;

const utf8 = new TextEncoder();
const digests = { sha1: 'SHA-1', sha256: 'SHA-256', sha512: 'SHA-512' } as const;

/**
 * The headers for a body. `now` is in ms. It throws an Error for people where a browser cannot make them: without
 * https there is no WebCrypto, and with a public key only its owner signs.
 */
export async function signatureOf(verify: Verify, secret: string, body: string, id: string, now: number): Promise<Headers> {
  const seconds = String(Math.floor(now / 1000));
  const mac = (text: string, key: BufferSource = utf8.encode(secret), algorithm: keyof typeof digests = 'sha256') => macOf(algorithm, key, text);
  switch (verify.kind) {
    case 'none': return {};
    case 'bearer': return { Authorization: `Bearer ${secret}` };
    case 'basic': return { Authorization: `Basic ${base64Of(utf8.encode(`${verify.username ?? 'hook'}:${secret}`))}` };
    case 'gitlab': return { 'X-Gitlab-Token': secret };
    case 'github': return { 'X-Hub-Signature-256': `sha256=${hex(await mac(body))}` };
    case 'shopify': return { 'X-Shopify-Hmac-Sha256': base64Of(await mac(body)) };
    case 'stripe': return { 'Stripe-Signature': `t=${seconds},v1=${hex(await mac(`${seconds}.${body}`))}` };
    case 'slack': return { 'X-Slack-Request-Timestamp': seconds, 'X-Slack-Signature': `v0=${hex(await mac(`v0:${seconds}:${body}`))}` };
    case 'standard-webhooks': {
      if (!secret.startsWith('whsec_')) throw new Error('Only the sender has the key that signs: what the hub knows is public.');
      const key = bytesOf(secret.slice('whsec_'.length));
      return { 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': `v1,${base64Of(await mac(`${id}.${seconds}.${body}`, key))}` };
    }
    case 'hmac': {
      const made = await mac(signedText(verify, body, id, seconds), undefined, verify.algorithm ?? 'sha256');
      return {
        [verify.header!]: `${verify.prefix ?? ''}${verify.encoding === 'base64' ? base64Of(made) : hex(made)}`,
        ...(verify.timestamp_header && { [verify.timestamp_header]: seconds }), ...(verify.id_header && { [verify.id_header]: id }),
      };
    }
  }
}

/** What kind hmac signs: its places filled, each once and none within another. */
export function signedText({ signed = '{body}' }: Pick<Verify, 'signed'>, body: string, id: string, seconds: string): string {
  return signed.replace(/\{(body|id|timestamp)\}/g, (_, name: 'body' | 'id' | 'timestamp') => ({ body, id, timestamp: seconds })[name]);
}

async function macOf(algorithm: keyof typeof digests, key: BufferSource, text: string): Promise<Uint8Array> {
  const { subtle } = globalThis.crypto;
  if (!subtle) throw new Error('Without https a browser signs nothing. Use the line of curl.');
  const imported = await subtle.importKey('raw', key, { name: 'HMAC', hash: digests[algorithm] }, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', imported, utf8.encode(text)));
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
