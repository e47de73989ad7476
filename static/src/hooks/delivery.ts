// Deliveries: their states in words, which of them a page shows, and how a list that is read again keeps what was loaded.

import type { HookDelivery, HookDeliveryState, HookReplay } from '../api';
import { clock, span } from '../text';

export const stateWords: Record<HookDeliveryState, string> = {
  waiting: 'Waits', sending: 'On its way', delivered: 'Delivered', dead: 'Given up', cancelled: 'Cancelled',
};

const held: Record<NonNullable<HookDelivery['held_by']>, string> = {
  breaker: 'The endpoint fails; this goes out when it takes one again, and no try is counted meanwhile',
  order: 'An earlier one of the same device has to arrive first',
  paused: 'The endpoint is paused',
  disabled: 'The endpoint is disabled; when it is set active again, this goes out',
  rate: 'The endpoint’s rate is used up',
};

export function isFinal(state: HookDeliveryState): boolean {
  return state === 'delivered' || state === 'dead' || state === 'cancelled';
}

/** Why one that is not finished does not go out now, or when it does. */
export function nextOf(delivery: Pick<HookDelivery, 'state' | 'held_by' | 'next_at'>, now: number): string {
  if (delivery.state !== 'waiting') return '';
  if (delivery.held_by) return held[delivery.held_by];
  const wait = delivery.next_at ? Date.parse(delivery.next_at) - now : 0;
  return wait > 500 ? `Next try in ${span(Math.ceil(wait / 1000))}` : 'Next try now';
}

/** Of a page of them, newest first, the oldest that may be tried now: of those of one device in order only the first may. */
export function oldestToTry<D extends Pick<HookDelivery, 'state' | 'held_by'>>(page: readonly D[]): D | undefined {
  return page.findLast(({ state, held_by }) => state === 'waiting' && held_by !== 'order');
}

/** "1", or "3/10" once it was tried again. */
export function triesOf({ attempts, max_attempts, state }: Pick<HookDelivery, 'attempts' | 'max_attempts' | 'state'>): string {
  return max_attempts && (attempts > 1 || !isFinal(state)) ? `${attempts}/${max_attempts}` : String(attempts);
}

/** When a row was: the time where that was `today` (of the page's clock), else the day. */
export function rowTime(time: string, today: string): string {
  const date = new Date(time);
  return date.toDateString() === today ? clock(time, true) : date.toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
}

/** "84 ms", "2.1 s". */
export function took(ms: number | undefined): string {
  if (ms === undefined) return '';
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** What the list is narrowed to, as it stands in the address. `since` is a span as "1h", or a time; empty is all. */
export interface Filter {
  endpoint: string;
  state: HookDeliveryState | '';
  type: string;
  device: string;
  since: string;
  until: string;
}

export const spans: Record<string, string> = { '1h': 'the last hour', '24h': 'the last day', '168h': 'the last week' };

export function filterOf(query: URLSearchParams): Filter {
  const text = (name: string) => query.get(name) ?? '';
  const state = text('state');
  return {
    endpoint: text('endpoint'), state: state in stateWords ? (state as HookDeliveryState) : '', type: text('type'), device: text('device'),
    since: text('since'), until: text('until'),
  };
}

/** The filter as the API takes it: spans become times before `now`, and what is no time is left out. */
export function askOf(filter: Filter, now: number): Omit<HookReplay, 'dry_run'> {
  const hours = /^(\d+)h$/.exec(filter.since)?.[1];
  const since = hours ? new Date(now - Number(hours) * 3_600_000).toISOString() : timeOf(filter.since);
  const until = timeOf(filter.until);
  return {
    ...(filter.endpoint && { endpoint: filter.endpoint }), ...(filter.state && { state: filter.state }),
    ...(filter.type.trim() && { type: filter.type.trim() }), ...(filter.device && { device: filter.device }), ...(since && { since }), ...(until && { until }),
  };
}

function timeOf(text: string): string {
  const ms = Date.parse(text);
  return text && Number.isFinite(ms) ? new Date(ms).toISOString() : '';
}

/** The filter as the end of a sentence that begins with "deliveries". */
export function describe(filter: Filter): string {
  const words = [
    filter.state && { waiting: 'that wait', sending: 'on their way', delivered: 'that arrived', dead: 'that were given up', cancelled: 'that were cancelled' }[filter.state],
    filter.type.trim() && `of ${filter.type.trim()}`, filter.endpoint && `to ${filter.endpoint}`, filter.device && `of the device ${filter.device}`,
    filter.since && (spans[filter.since] ? `of ${spans[filter.since]}` : `since ${new Date(filter.since).toLocaleString()}`),
    filter.until && `until ${new Date(filter.until).toLocaleString()}`,
  ];
  return words.filter(Boolean).join(', ');
}

/**
 * What was loaded, after its front was read again: the fresh ones stand in front, followed by those that were loaded
 * and are older than the fresh page reaches.
 */
export function renewed<D extends { id: string }>(loaded: readonly D[], fresh: readonly D[]): D[] {
  const end = fresh.at(-1);
  const at = end ? loaded.findIndex(({ id }) => id === end.id) : -1;
  return at < 0 ? [...fresh] : [...fresh, ...loaded.slice(at + 1)];
}
