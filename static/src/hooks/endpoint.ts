// An endpoint's state in words.

import type { HookEndpoint } from '../api';

export type Condition = 'well' | 'quiet' | 'failing' | 'resting' | 'paused' | 'disabled';

export const conditionWords: Record<Condition, string> = {
  well: 'Delivers', quiet: 'Nothing sent yet', failing: 'Failing', resting: 'Failing, waiting', paused: 'Paused', disabled: 'Disabled',
};

type Known = Pick<HookEndpoint, 'state' | 'breaker' | 'failing_since' | 'delivered_24h' | 'failed_24h' | 'last_at'>;

/** The one word for how it is: what the hub or a person stopped comes before how the last attempts went. */
export function conditionOf(endpoint: Known): Condition {
  if (endpoint.state !== 'active') return endpoint.state;
  if (endpoint.breaker !== 'closed') return 'resting';
  if (endpoint.failing_since || (endpoint.failed_24h > 0 && endpoint.delivered_24h === 0)) return 'failing'; // a transform that fails is no failure of the receiver
  return endpoint.last_at ? 'well' : 'quiet';
}

/** The share of attempts that arrived in the last day, as "98.2 %"; empty without any. 100 % is said only where none failed. */
export function healthOf({ delivered_24h, failed_24h }: Pick<HookEndpoint, 'delivered_24h' | 'failed_24h'>): string {
  const all = delivered_24h + failed_24h;
  if (all === 0) return '';
  const share = Math.floor((delivered_24h / all) * 1000) / 10;
  return `${failed_24h === 0 ? 100 : share} %`;
}

/** What it is sent, in words for a list: at most `most` and how many more. */
export function wantsOf({ events, topics }: Pick<HookEndpoint, 'events' | 'topics'>, most = 3): { shown: string[]; more: number } {
  const all = [...events, ...topics];
  return { shown: all.slice(0, most), more: Math.max(0, all.length - most) };
}

/** The address without what is the same everywhere, for a narrow place. */
export function shortURL(url: string): string {
  return url.replace(/^https?:\/\//, '').replace(/\/$/, '');
}
