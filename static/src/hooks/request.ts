// Requests that sources received: their states in words, which of them a page shows, and what one that is awaited became.

import type { HookRequest, HookRequestState, HookSource } from '../api';
import { span } from '../text';

export const requestWords: Record<HookRequestState, string> = { waiting: 'Waits', done: 'Done', failed: 'Failed' };

/** What the list is narrowed to, as it stands in the address. `since` is a span as "1h"; empty is all. */
export interface RequestFilter {
  source: string;
  state: HookRequestState | '';
  since: string;
}

export function requestFilterOf(query: URLSearchParams): RequestFilter {
  const state = query.get('state') ?? '';
  return { source: query.get('source') ?? '', state: Object.hasOwn(requestWords, state) ? (state as HookRequestState) : '', since: query.get('since') ?? '' };
}

/** The filter as the API takes it: a span becomes a time before `now`, and what is none is left out. */
export function requestAskOf({ source, state, since }: RequestFilter, now: number): { source?: string; state?: HookRequestState; since?: string } {
  const hours = /^(\d+)h$/.exec(since)?.[1];
  return { ...(source && { source }), ...(state && { state }), ...(hours && { since: new Date(now - Number(hours) * 3_600_000).toISOString() }) };
}

/**
 * The shape of a request and its word. One that is done may have been answered by a failure all the same: of a program with
 * a status, of a command by its exit status.
 */
export function shapeOf({ state, status, exit_code: exit = 0 }: Pick<HookRequest, 'state' | 'status' | 'exit_code'>): { of: HookRequestState | 'failing'; word: string } {
  return state === 'done' && ((status ?? 0) >= 500 || exit !== 0) ? { of: 'failing', word: 'Answered by a failure' } : { of: state, word: requestWords[state] };
}

/** What came of a request, in a few words. */
export function outcomeOf(request: Pick<HookRequest, 'state' | 'topic' | 'device_id' | 'status' | 'error'>, device: string): string {
  if (request.error) return request.error;
  if (request.topic) return request.topic;
  if (request.device_id) return `command on ${device || request.device_id}`;
  return request.state === 'waiting' ? '' : 'kept';
}

/** When one that waits is tried again. */
export function againOf({ state, next_at }: Pick<HookRequest, 'state' | 'next_at'>, now: number): string {
  if (state !== 'waiting') return '';
  const wait = next_at ? Date.parse(next_at) - now : 0;
  return wait > 500 ? `Next try in ${span(Math.ceil(wait / 1000))}` : 'Under way';
}

export type SourceCondition = 'well' | 'quiet' | 'failing' | 'paused';

export const sourceWords: Record<SourceCondition, string> = { well: 'Receives', quiet: 'Nothing came yet', failing: 'Last one refused', paused: 'Switched off' };

type Known = Pick<HookSource, 'enabled' | 'last_at' | 'last_refused' | 'last_refused_at'>;

/** The one word for how a source is. */
export function sourceConditionOf(source: Known): SourceCondition {
  if (!source.enabled) return 'paused';
  if (refusedSince(source, source.last_at)) return 'failing';
  return source.last_at ? 'well' : 'quiet';
}

/** Why a request was refused after a time, empty where none was. */
export function refusedSince({ last_refused, last_refused_at }: Pick<HookSource, 'last_refused' | 'last_refused_at'>, time: string | undefined): string {
  if (!last_refused || !last_refused_at) return '';
  return !time || Date.parse(last_refused_at) > Date.parse(time) ? last_refused : '';
}

/** What a source does with a request, in a few words. */
export function doesWords({ kind, topic, command }: HookSource['action'], device: string): string {
  if (kind === 'store') return 'only keeps';
  return kind === 'publish' ? (topic ?? '') : `${command ?? ''} on ${device}`;
}

/** How a request was verified, for one that was accepted. */
export function verifiedWords(kind: HookSource['verify']['kind']): string {
  if (kind === 'none') return 'Not verified: the address is the secret';
  return { bearer: 'The token fits', basic: 'Name and password fit', gitlab: 'The token fits' }[kind as string] ?? 'The signature fits';
}
