// What a person does where the sender is set up, step by step.

import type { HookVerification } from '../api';
import type { Sender } from './senders';

export interface Step {
  text: string;
  /** What is copied there, or pasted here. */
  shows?: 'url' | 'secret' | 'paste';
  code?: string;
  note?: string;
}

export function stepsOf(verify: HookVerification): Step[] {
  const steps = all[verify.kind];
  return steps.map((step) => ({ ...step, text: step.text.replace('USERNAME', () => verify.username ?? 'hook').replace('HEADER', () => verify.header ?? 'X-Signature') }));
}

/** USERNAME and HEADER stand for what the source says. */
const all: Record<Sender['kind'], Step[]> = {
  github: [
    { text: 'In the repository: Settings → Webhooks → Add webhook. Payload URL:', shows: 'url' },
    { text: 'Content type: application/json. Secret:', shows: 'secret' },
    { text: 'Choose the events and press Add webhook.', note: 'GitHub sends a ping at once: it arrives here as the first request.' },
  ],
  gitlab: [
    { text: 'In the project: Settings → Webhooks → Add new webhook. URL:', shows: 'url' },
    { text: 'Secret token:', shows: 'secret' },
    { text: 'Choose the triggers, press Add webhook, then Test → Push events.' },
  ],
  stripe: [
    { text: 'In the dashboard: Developers → Webhooks → Add endpoint. Endpoint URL:', shows: 'url' },
    { text: 'Choose the events and press Add endpoint.' },
    { text: 'On the page of that endpoint, under Signing secret, press Reveal and paste it here:', shows: 'paste' },
    { text: 'Try it, with Stripe’s command in test mode:', code: 'stripe trigger payment_intent.succeeded', note: 'Stripe tries again for three days what was refused before you pasted the secret.' },
  ],
  slack: [
    { text: 'At api.slack.com/apps, in your app: Basic Information → App Credentials → Signing Secret. Show it and paste it here first, as Slack tries the address in the next step:', shows: 'paste' },
    { text: 'Event Subscriptions → Enable Events. Request URL:', shows: 'url', note: 'Slack says Verified as soon as the hub has answered its challenge.' },
    { text: 'Subscribe to bot events, such as message.channels, and press Save Changes.' },
  ],
  shopify: [
    { text: 'In the admin: Settings → Notifications → Webhooks → Create webhook. Format JSON, URL:', shows: 'url' },
    { text: 'Under the list stands “Your webhooks will be signed with …”. Paste that here:', shows: 'paste' },
    { text: 'In the row of the webhook: Send test.' },
  ],
  'standard-webhooks': [
    { text: 'Send to this address:', shows: 'url' },
    { text: 'Sign with this secret, by webhook-id, webhook-timestamp and webhook-signature:', shows: 'secret', note: 'Where the sender makes the secret, as Svix and others do, give that one to the source instead: Rotate secret on its page.' },
  ],
  bearer: [
    { text: 'Send to this address:', shows: 'url' },
    { text: 'With the header Authorization: Bearer, and this token:', shows: 'secret' },
  ],
  basic: [
    { text: 'Send to this address:', shows: 'url' },
    { text: 'Sign in as USERNAME, with this password:', shows: 'secret' },
  ],
  hmac: [
    { text: 'Send to this address:', shows: 'url' },
    { text: 'Put the signature into the header HEADER, made with this secret:', shows: 'secret' },
  ],
  none: [{ text: 'Send to this address. Whoever knows it can, so it is a secret itself:', shows: 'url' }],
};
