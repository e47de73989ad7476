// Who sends requests to a hub: how each shows that it is itself, and an example of what it sends.

import type { HookVerification } from '../api';

export type Kind = HookVerification['kind'];

/** Who makes the secret: the hub, the sender, either of them, or nobody, as the address is the secret. */
export type Maker = 'hub' | 'sender' | 'either' | 'nobody';

export interface Sender {
  kind: Kind;
  name: string;
  /** In a few words, how a request shows whose it is. */
  proof: string;
  maker: Maker;
  /** What the sender calls the secret. */
  secret: string;
  /** The end of the address that is proposed; empty where the hub makes it. */
  slug: string;
  /** Of the example, beside what signs it. */
  headers: Record<string, string>;
  /** The example. Its id is another one each time, as a repeat is done once. */
  body: (id: string) => unknown;
  /** The header that carries that id, where the body does not. */
  idHeader?: string;
  /** What a topic can be made of: a jq path in the request, and what it is. */
  values: [string, string][];
  topic: string;
}

const door = () => ({ door: 'open' });
const plainValues: [string, string][] = [['.body.door', 'a member of the body'], ['.query.room', '?room= of the address'], ['.path', 'what follows the address']];

export const senders: Sender[] = [
  {
    kind: 'github', name: 'GitHub', proof: 'signs with a secret', maker: 'hub', secret: 'Secret', slug: 'github', headers: { 'X-GitHub-Event': 'push' }, idHeader: 'X-GitHub-Delivery',
    body: () => ({
      ref: 'refs/heads/main', repository: { name: 'garage', full_name: 'ada/garage', private: true }, pusher: { name: 'ada' },
      head_commit: { id: '5f1c9e0', message: 'Oil the hinges', author: { name: 'Ada' } },
    }),
    values: [['.body.repository.full_name', 'owner and repository'], ['.body.repository.name', 'repository'], ['.headers["x-github-event"]', 'kind of event'], ['.body.ref', 'branch or tag']],
    topic: 'github/{{ .body.repository.full_name // .body.organization.login }}/{{ .headers["x-github-event"] }}',
  },
  {
    kind: 'stripe', name: 'Stripe', proof: 'signs with its secret', maker: 'sender', secret: 'Signing secret', slug: 'stripe', headers: {},
    body: (id) => ({ id: `evt_${id}`, object: 'event', type: 'payment_intent.succeeded', livemode: false, data: { object: { id: 'pi_1', object: 'payment_intent', amount: 2150, currency: 'eur' } } }),
    values: [['.body.type', 'kind of event'], ['.body.data.object.object', 'kind of object'], ['.body.livemode', 'live or test']],
    topic: 'stripe/{{ .body.type }}',
  },
  {
    kind: 'slack', name: 'Slack', proof: 'signs with its secret', maker: 'sender', secret: 'Signing Secret', slug: 'slack', headers: {},
    body: (id) => ({ type: 'event_callback', event_id: `Ev${id}`, team_id: 'T1', event: { type: 'message', channel: 'C1', user: 'U1', text: 'Open the door, please' } }),
    values: [['.body.event.type', 'kind of event'], ['.body.event.channel', 'channel'], ['.body.team_id', 'workspace']],
    topic: 'slack/{{ .body.event.type }}',
  },
  {
    kind: 'gitlab', name: 'GitLab', proof: 'sends a secret token', maker: 'hub', secret: 'Secret token', slug: 'gitlab', headers: { 'X-Gitlab-Event': 'Push Hook' }, idHeader: 'X-Gitlab-Event-UUID',
    body: () => ({ object_kind: 'push', ref: 'refs/heads/main', user_username: 'ada', project: { name: 'Garage', path_with_namespace: 'ada/garage' }, total_commits_count: 1 }),
    values: [['.body.project.path_with_namespace', 'group and project'], ['.body.object_kind', 'kind of event'], ['.body.ref', 'branch or tag']],
    topic: 'gitlab/{{ .body.project.path_with_namespace }}/{{ .body.object_kind }}',
  },
  {
    kind: 'shopify', name: 'Shopify', proof: 'signs with its secret', maker: 'sender', secret: 'signing secret', slug: 'shopify',
    headers: { 'X-Shopify-Topic': 'orders/create', 'X-Shopify-Shop-Domain': 'shop.myshopify.com' }, idHeader: 'X-Shopify-Webhook-Id',
    body: () => ({ id: 820982911946154508, name: '#1001', total_price: '21.50', currency: 'EUR', line_items: [{ title: 'Hinge oil', quantity: 1 }] }),
    values: [['.headers["x-shopify-topic"]', 'kind of event'], ['.headers["x-shopify-shop-domain"]', 'shop'], ['.body.name', 'number of the order']],
    topic: 'shopify/{{ .headers["x-shopify-topic"] }}',
  },
  {
    kind: 'standard-webhooks', name: 'Standard Webhooks', proof: 'signs by the standard', maker: 'either', secret: 'secret', slug: 'events', headers: {},
    body: () => ({ type: 'door.opened', timestamp: '2026-01-02T03:04:05Z', data: { door: 'garage' } }),
    values: [['.body.type', 'kind of event'], ['.headers["webhook-id"]', 'id']],
    topic: 'events/{{ .body.type }}',
  },
  {
    kind: 'bearer', name: 'curl, scripts', proof: 'Authorization: Bearer', maker: 'either', secret: 'token', slug: 'garage', headers: {}, body: door, values: plainValues, topic: 'garage/door',
  },
  {
    kind: 'basic', name: 'Password', proof: 'Authorization: Basic', maker: 'either', secret: 'password', slug: 'garage', headers: {}, body: door, values: plainValues, topic: 'garage/door',
  },
  {
    kind: 'hmac', name: 'Another HMAC', proof: 'in any header', maker: 'either', secret: 'secret', slug: 'hook', headers: {}, body: door, values: plainValues, topic: 'garage/door',
  },
  {
    kind: 'none', name: 'Secret address', proof: 'only the address', maker: 'nobody', secret: '', slug: '', headers: {}, body: door, values: plainValues, topic: 'garage/door',
  },
];

export function senderOf(kind: string | null): Sender | undefined {
  return senders.find((each) => each.kind === kind);
}

/** An id as no sender has used it. */
export function freshID(): string {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What a topic or a transform is given for the example (the same members that the hub gives). */
export function inputOf({ headers, idHeader }: Sender, body: unknown, id: string, source: string): Record<string, unknown> {
  const all = { 'Content-Type': 'application/json', ...headers, ...(idHeader && { [idHeader]: id }) };
  return {
    id: 'req_example', source, method: 'POST', path: '', query: {}, body,
    headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name.toLowerCase(), value])),
  };
}

/** The proposed end of an address, or one like it that no source has. */
export function freeSlug(wanted: string, taken: readonly string[]): string {
  if (!wanted || !taken.includes(wanted)) return wanted;
  for (let n = 2; ; n++) if (!taken.includes(`${wanted}-${n}`)) return `${wanted}-${n}`;
}
