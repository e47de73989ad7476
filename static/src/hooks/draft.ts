// The form of an endpoint: what a person typed, what is wrong with it, and the request that it makes.

import type { EventType, HookEndpoint, HookEndpointChange, HookEndpointRequest, HookFormat, HookTransform } from '../api';
import { filterError } from '../mqtt/topics';

export interface Draft {
  url: string;
  name: string;
  events: string[];
  /** One filter a line. */
  topics: string;
  devices: string[];
  format: HookFormat;
  kind: HookTransform['kind'] | '';
  program: string;
  headers: { name: string; value: string }[];
  signature: 'v1' | 'v1a';
  secret: string;
  mode: 'parallel' | 'ordered';
  rate: string;
  concurrency: string;
  timeout: string;
}

export type Field = 'url' | 'name' | 'events' | 'topics' | 'devices' | 'transform' | 'headers' | 'secret' | 'rate' | 'concurrency' | 'timeout_seconds';
export type Errors = Partial<Record<Field, string>>;

/** How the hub shows the value of a header that speaks of a secret. Sent back, it means: as it was. */
export const MASKED = '***';

const blank: Draft = {
  url: '', name: '', events: [], topics: '', devices: [], format: 'standard', kind: '', program: '', headers: [], signature: 'v1', secret: '',
  mode: 'parallel', rate: '10', concurrency: '4', timeout: '15',
};

/** A new one; a link may say what it is for, as ?event=device.offline&topic=home/%23. */
export function newDraft(query: URLSearchParams): Draft {
  return { ...blank, events: query.getAll('event'), topics: query.getAll('topic').join('\n'), devices: query.getAll('device'), headers: [] };
}

export function draftOf(endpoint: HookEndpoint): Draft {
  return {
    ...blank, url: endpoint.url, name: endpoint.name, events: [...endpoint.events], topics: endpoint.topics.join('\n'), devices: [...endpoint.devices],
    format: endpoint.format, kind: endpoint.transform?.kind ?? '', program: endpoint.transform?.text ?? '',
    headers: Object.entries(endpoint.headers).map(([name, value]) => ({ name, value })), signature: endpoint.signature,
    mode: endpoint.mode, rate: String(endpoint.rate), concurrency: String(endpoint.concurrency), timeout: String(endpoint.timeout_seconds),
  };
}

export function topicsOf(text: string): string[] {
  return [...new Set(text.split('\n').map((line) => line.trim()).filter(Boolean))];
}

/** Of which kind the fault is that keeps the form from being sent; the hub finds the rest. */
export function draftErrors(draft: Draft): Errors {
  const errors: Errors = {};
  const add = (field: Field, text: string) => text && (errors[field] ??= text);
  add('url', urlError(draft.url.trim()));
  if (draft.name && !/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(draft.name.trim())) add('name', 'At most 63 letters, digits, dots, hyphens and underscores, a letter or digit first.');
  const topics = topicsOf(draft.topics);
  for (const topic of topics) if (filterError(topic)) add('topics', `${topic}: ${filterError(topic)}`);
  if (draft.events.length === 0 && topics.length === 0) add('events', 'Choose at least one event or one topic.');
  if (draft.kind && !draft.program.trim()) add('transform', draft.kind === 'jq' ? 'Write the program, as .data' : 'Write the text, as {{ .data.name }} left');
  for (const { name, value } of draft.headers) add('headers', headerError(name, value));
  if (draft.secret && !/^(whsec_|whsk_)[A-Za-z0-9+/=]+$/.test(draft.secret.trim())) add('secret', 'It begins with whsec_ (v1) or whsk_ (v1a), and base64 follows.');
  add('rate', numberError(draft.rate, 0.01, 1000));
  add('concurrency', numberError(draft.concurrency, 1, 32, true));
  add('timeout_seconds', numberError(draft.timeout, 1, 30, true));
  return errors;
}

function urlError(text: string): string {
  if (!text) return 'Where should the hub send? As https://example.com/hook';
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return 'A whole address, as https://example.com/hook';
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'It begins with https:// or http://';
  if (url.username || url.password) return 'No name or password in the address: put them into a header, where they are kept secret.';
  return '';
}

function headerError(name: string, value: string): string {
  if (!name.trim() && !value) return '';
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name.trim())) return `“${name}” is no name of a header.`;
  if (/[^\t\x20-\x7e\x80-\uffff]/.test(value)) return `The value of ${name} has a character that no header can carry.`;
  return /^(webhook-.*|host|content-length|transfer-encoding|connection)$/i.test(name.trim()) ? `${name} is the hub’s own.` : '';
}

function numberError(text: string, least: number, most: number, whole = false): string {
  const value = Number(text);
  const fits = text.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value));
  return fits ? '' : `${whole ? 'A whole number' : 'A number'} from ${least} to ${most}.`;
}

function headersOf(draft: Draft): Record<string, string> {
  return Object.fromEntries(draft.headers.filter(({ name }) => name.trim()).map(({ name, value }) => [name.trim(), value]));
}

export function transformOf({ kind, program }: Pick<Draft, 'kind' | 'program'>): HookTransform | undefined {
  return kind ? { kind, text: program } : undefined;
}

/** The part that a new endpoint and a changed one have in common. */
function common(draft: Draft) {
  return {
    url: draft.url.trim(), events: draft.events, topics: topicsOf(draft.topics), devices: draft.devices, format: draft.format, headers: headersOf(draft),
    mode: draft.mode, rate: Number(draft.rate), concurrency: Number(draft.concurrency), timeout_seconds: Number(draft.timeout),
  };
}

export function requestOf(draft: Draft): HookEndpointRequest {
  const transform = transformOf(draft);
  return {
    ...common(draft), signature: draft.signature, ...(draft.name.trim() && { name: draft.name.trim() }), ...(draft.secret.trim() && { secret: draft.secret.trim() }),
    ...(transform && { transform }),
  };
}

/** Only what a person changed: `before` is what the form began with, so that two people who change different things do not undo each other's. */
export function changesOf(before: Draft, draft: Draft): HookEndpointChange {
  const was: Record<string, unknown> = { ...common(before), name: before.name };
  const is = { ...common(draft), name: draft.name.trim() || before.name };
  const changes: HookEndpointChange = Object.fromEntries(Object.entries(is).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(was[name])));
  const transform = transformOf(draft);
  if (JSON.stringify(transform) !== JSON.stringify(transformOf(before))) Object.assign(changes, transform ? { transform } : { no_transform: true });
  return changes;
}

export interface Group {
  /** As "device"; its pattern is "device.*". */
  name: string;
  types: EventType[];
}

/** The types by what stands before their first dot, each group in the order of names. */
export function groupsOf(types: readonly EventType[]): Group[] {
  const groups = new Map<string, EventType[]>();
  for (const each of types.toSorted((a, b) => (a.type < b.type ? -1 : 1))) {
    const name = each.type.split('.', 1)[0]!;
    groups.set(name, [...(groups.get(name) ?? []), each]);
  }
  return [...groups].map(([name, members]) => ({ name, types: members }));
}

/** Whether a pattern of the API stands for a type: equal, or a front followed by *. */
export function covers(pattern: string, type: string): boolean {
  return pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : pattern === type;
}

/** Turns one pattern on or off. What a wider one says already is left out of the list. */
export function toggled(events: readonly string[], pattern: string, on: boolean): string[] {
  if (!on) return events.filter((each) => each !== pattern);
  return [...events.filter((each) => each !== pattern && !covers(pattern, each)), pattern];
}
