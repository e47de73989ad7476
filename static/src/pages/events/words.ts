// What the page knows of events beside drawing: groups, filters, and a sentence for each type.

import type { HubMessage } from '../../events/stream';

export interface LogEvent {
  id: number;
  type: string;
  at: string;
  device_id?: string;
  user_id?: string;
  data: Record<string, unknown>;
}

export type Group = 'devices' | 'people' | 'access' | 'mqtt' | 'webhooks' | 'hub';

export const groups: Record<Group, [word: string, patterns: string[]]> = {
  devices: ['Devices', ['device.*', 'install.*', 'install_code.*', 'root_password.*']],
  people: ['People', ['login.*', 'token.*', 'user.*', 'grant.*', 'ssh_key.*', 'ssh.*']],
  access: ['Shells and streams', ['stream.*', 'shell.*', 'port.*']],
  mqtt: ['MQTT', ['mqtt.*']],
  webhooks: ['Webhooks', ['hook.*']],
  hub: ['The hub', ['hub.*']],
};

export interface Filter {
  group: Group | '';
  device: string; // ids
  user: string;
  since: string; // RFC 3339, empty: without end
  until: string;
}

export function isGroup(text: string | null): text is Group {
  return text !== null && Object.hasOwn(groups, text);
}

/** Spans that the filter offers, in seconds. */
export const spans: Record<string, [word: string, seconds: number]> = {
  hour: ['Last hour', 3600],
  day: ['Last 24 hours', 86_400],
  week: ['Last 7 days', 7 * 86_400],
  month: ['Last 30 days', 30 * 86_400],
};

/** When the span chosen begins; what a person typed is theirs, in the browser's own time. */
export function bounds(span: string, from: string, to: string, now: number): { since: string; until: string } {
  const known = Object.hasOwn(spans, span) ? spans[span] : undefined;
  if (known) return { since: iso(now - known[1] * 1000), until: '' };
  return span === 'own' ? { since: typed(from), until: typed(to) } : { since: '', until: '' };
}

const iso = (ms: number) => new Date(ms).toISOString();

function typed(local: string): string {
  const ms = local ? Date.parse(local) : NaN;
  return Number.isNaN(ms) ? '' : iso(ms);
}

/** The query that the hub's API takes for a filter. */
export function queryOf({ group, device, user, since, until }: Filter): { type?: string[]; device?: string; user?: string; since?: string; until?: string } {
  return { ...(group && { type: groups[group][1] }), ...(device && { device }), ...(user && { user }), ...(since && { since }), ...(until && { until }) };
}

/** Whether an event that happens now belongs among those of a filter. */
export function wants({ group, device, user, until }: Filter, event: Pick<HubMessage, 'type' | 'device_id' | 'user_id'>): boolean {
  return !until && (!group || groups[group][1].some((pattern) => event.type.startsWith(pattern.slice(0, -1)))) &&
    (!device || event.device_id === device) && (!user || event.user_id === user);
}

/** Puts an event that has come live before the others; one that is there already stays alone. */
export function merged(list: readonly LogEvent[], event: LogEvent): readonly LogEvent[] {
  if (!list.length || event.id > list[0]!.id) return [event, ...list];
  if (list.some(({ id }) => id === event.id)) return list;
  const at = list.findIndex(({ id }) => id < event.id);
  return at < 0 ? list : [...list.slice(0, at), event, ...list.slice(at)];
}

/** {device} and {user} are names, other names members of data. What stands in [ ] is left out where a name in it is missing. */
const sentences: Record<string, string> = {
  'device.enrolled': '{device} was enrolled[ from {address}]',
  'device.pending': '{device} waits for approval[, from {address}]',
  'device.approved': '{device} was approved[ by {user}]',
  'device.replaced': 'another machine took the place of {device}[, from {address}]',
  'device.removed': '{device} was removed[ by {user}]',
  'device.changed': '{device} changed[, by {user}]',
  'device.online': '{device} came online[ from {address}]',
  'device.offline': '{device} went offline',
  'device.cloned': 'a second machine has the key of {device}',
  'device.updated': 'the agent of {device} was updated[ to {version}]',
  'device.not_updated': 'the agent of {device} was not updated[: {message}]',
  'device.host_keys_pending': '{device} shows new SSH host keys',
  'device.host_keys_accepted': 'new SSH host keys of {device} were accepted[ by {user}]',
  'install.step': 'an installation: {step}[, on {device_name}][, from {address}]',
  'install_code.created': '{user} made an install code[ for {name}]',
  'install_code.revoked': '{user} revoked an install code[ for {name}]',
  'root_password.set': 'the password of root on {device} was set',
  'root_password.revealed': '{user} saw the password of root on {device}[: {reason}]',
  'login.failed': 'a sign-in as {email} failed[, from {address}]',
  'login.began': '{user} signed in[ from {address}]',
  'login.ended': '{user} signed out[ at {address}]',
  'login.denied': '{user} refused a sign-in of adit[ on {host}][, from {address}]',
  'token.created': 'the API token “{name}” of {user} was made[ by {by}]',
  'token.revoked': '{user} revoked an API token',
  'user.created': '{email} was made {role}[ by {by}]',
  'user.changed': '{email} was changed[ by {by}]',
  'user.removed': '{email} was removed[ by {by}]',
  'grant.added': '{user} was granted access[ to {device}][ by {by}]',
  'grant.removed': 'a grant was taken away[ by {by}]',
  'ssh_key.added': '{user} added the SSH key “{name}”',
  'ssh_key.removed': '{user} removed the SSH key “{name}”',
  'ssh.certificate': '{user} got a certificate for {login}[ on {device}]',
  'ssh.refused': 'the SSH gate refused {name}[ from {address}]',
  'stream.opened': '{user} opened {target} on {device}[, from {address}]',
  'stream.closed': '{target} on {device} of {user} ended[: {cause}]',
  'stream.refused': '{user} was refused {target}[ on {device}][: {reason}]',
  'stream.summed': '{count} more streams of {user} to {target} on {device}',
  'shell.opened': '{user} opened a shell on {device}[ as {login}]',
  'shell.ended': 'a shell of {user} on {device} ended',
  'port.reserved': '{user} reserved port {port} for {target} on {device}',
  'port.released': '{user} gave back port {port}',
  'hub.started': 'the hub started[, version {version}]',
  'hub.stopping': 'the hub stops',
  'hub.restored': 'a backup was restored: what happened after it was made is gone',
  'hub.keys_changed': 'the hub’s tunnel key: {stage}',
  'hub.retention_changed': '{user} changed how long things are kept',
  'hub.events_dropped': '{count} events of streams were lost: the disk did not keep up',
  'mqtt.credential_added': 'the MQTT credential {username} was made[ by {by}]',
  'mqtt.credential_removed': 'the MQTT credential {username} was removed[ by {by}]',
  'mqtt.rule_added': 'an MQTT rule was made: {subject} {access} {filter}',
  'mqtt.rule_removed': 'an MQTT rule was removed: {subject} {access} {filter}',
  'mqtt.imported': '{credentials} MQTT credentials and {rules} rules were imported[ by {by}]',
  'mqtt.cleared': '{count} retained messages under {filter} were cleared[ by {by}]',
  'mqtt.kicked': 'the MQTT client {client_id} was ended[ by {by}]',
  'mqtt.refused': '{name} was refused at MQTT[ from {address}][: {reason}]',
  'hook.received': 'a request came in at {source}[, for {topic}]',
  'hook.refused': 'a request was refused at {source}[: {reason}]',
  'hook.failed': 'a request at {source} failed[: {error}]',
  'hook.delivery_dead': 'a delivery to {endpoint} was given up[: {error}]',
  'hook.overflow': 'the queue of {endpoint} is full[, {refused} were left out]',
  'hook.endpoint_added': 'the webhook endpoint {endpoint} was made[ by {user}]',
  'hook.endpoint_changed': 'the webhook endpoint {endpoint} was changed[ by {user}][: {changed}]',
  'hook.endpoint_removed': 'the webhook endpoint {endpoint} was removed[ by {user}]',
  'hook.endpoint_disabled': 'the webhook endpoint {endpoint} was disabled[: {reason}]',
  'hook.source_added': 'the webhook source {source} was made[ by {user}]',
  'hook.source_changed': 'the webhook source {source} was changed[ by {user}][: {changed}]',
  'hook.source_removed': 'the webhook source {source} was removed[ by {user}]',
  'hook.test': 'a test of the webhook endpoint {endpoint}',
  'hook.replayed': '{user} had webhook deliveries sent again[, to {endpoint}][: {count}]',
  'hook.delivery_tried': '{user} had a delivery to {endpoint} tried at once',
  'hook.delivery_cancelled': '{user} cancelled a delivery to {endpoint}',
  'hook.request_replayed': '{user} had a request at {source} done again',
};

export function valueText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** What to call the device and the user of an event, and webhook endpoints and sources by their ids. */
export interface Names {
  device: string;
  user: string;
  hooks?: ReadonlyMap<string, string>;
}

/** A sentence that says what happened. An endpoint or source that is not there any more is called by the name that the event keeps, or by its id. */
export function sentence(event: Pick<LogEvent, 'type' | 'data'>, names: Names): string {
  const pattern = Object.hasOwn(sentences, event.type) ? sentences[event.type] : undefined;
  if (!pattern) return Object.entries(event.data).map(([name, value]) => `${name}: ${valueText(value)}`).join(', ') || event.type;
  const member = (name: string) => (Object.hasOwn(event.data, name) ? valueText(event.data[name]) : '');
  const value = (name: string) => {
    if (name === 'device' || name === 'user') return names[name];
    if (name === 'changed' && Array.isArray(event.data.changed)) return event.data.changed.map(valueText).join(', ');
    if (name !== 'endpoint' && name !== 'source') return member(name);
    return names.hooks?.get(member(name)) ?? (member('name') || member(name));
  };
  const fill = (text: string, missing: string) => text.replace(/\{(\w+)\}/g, (_, name: string) => value(name) || missing);
  const kept = pattern.replace(/\[([^\]]*)\]/g, (_, part: string) =>
    [...part.matchAll(/\{(\w+)\}/g)].every(([, name]) => value(name!)) ? part : '');
  return fill(kept.replace(/^./, (first) => first.toUpperCase()), 'somebody'); // a name keeps its own first letter
}
