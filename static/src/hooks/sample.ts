// An example of what an endpoint is sent, for a person who chooses its format.

import type { Device, EventType, HookFormat } from '../api';
import { covers, type Draft, topicsOf } from './draft';

/** What a transform is given (the same members that the hub gives it). */
export interface Envelope {
  id: string;
  type: string;
  timestamp: string;
  data: unknown;
  device?: { id: string; name: string };
  topic?: string;
}

export const MESSAGE = 'mqtt.message';

const examples: Record<string, unknown> = {
  name: 'kitchen', address: '203.0.113.7', reason: 'timeout', cause: 'closed', target: 'shell', login: 'pi', port: 2201, exit_status: 0, version: 'v1.4.0', role: 'admin',
  bytes_in: 5120, bytes_out: 1024, email: 'ada@example.com',
};

/** The types that the draft asks for and that there are, in the order of the catalogue; a message where it asks for topics. */
export function typesOf(draft: Pick<Draft, 'events' | 'topics'>, all: readonly EventType[]): string[] {
  const asked = all.filter(({ type }) => draft.events.some((pattern) => covers(pattern, type))).map(({ type }) => type);
  const own = draft.events.filter((pattern) => !pattern.endsWith('*') && !asked.includes(pattern));
  return [...(topicsOf(draft.topics).length ? [MESSAGE] : []), ...asked, ...own];
}

export function envelopeOf(type: string, draft: Pick<Draft, 'topics'>, all: readonly EventType[], device: Pick<Device, 'id' | 'name'> | undefined, now: number): Envelope {
  const known = device ?? { id: 'dev_01J8EXAMPLE', name: 'kitchen' };
  const head = { id: 'msg_01J8EXAMPLE', type, timestamp: new Date(now).toISOString() };
  if (type === MESSAGE) {
    const topic = topicsOf(draft.topics)[0]?.replace(/\+/g, known.name).replace(/#$/, 'temperature') ?? `devices/${known.name}/temperature`;
    return { ...head, data: { topic, payload: { temp: 21.5 }, encoding: 'json', qos: 1, retain: false, from: known.name }, device: { id: known.id, name: known.name }, topic };
  }
  const members = all.find((each) => each.type === type)?.data ?? [];
  const data = Object.fromEntries(members.map((name) => [name, name === 'name' ? known.name : (examples[name] ?? `a ${name.replaceAll('_', ' ')}`)]));
  return { ...head, data, ...(/^(device|shell|stream)\./.test(type) && { device: { id: known.id, name: known.name } }) };
}

export interface Preview {
  headers: [string, string][];
  body: string;
}

/**
 * The request that a format makes of an envelope, as far as the format decides it. `made` is what a transform made of it:
 * the body, or for CloudEvents their data.
 */
export function previewOf(format: HookFormat, envelope: Envelope, made?: string): Preview {
  const { id, type, timestamp, data, device, topic } = envelope;
  const plain = type === MESSAGE ? (data as { payload: unknown }).payload : data; // the data alone is of a message its payload
  const source = device ? `/hubs/HUB/devices/${device.id}` : '/hubs/HUB';
  const alone: Preview = { headers: [['content-type', made === undefined ? 'application/json' : typeOf(made)]], body: made ?? pretty(plain) };
  const event: Record<string, string> = { specversion: '1.0', id, source, type: `hub.${type}`, time: timestamp, ...(device && { device: device.name }), ...(topic && { subject: topic }) };
  if (format === 'cloudevents') {
    const carried = { ...event, datacontenttype: alone.headers[0]![1], data: made === undefined ? plain : (parsed(made)?.value ?? made) };
    return { headers: [['content-type', 'application/cloudevents+json']], body: pretty(carried) };
  }
  if (format === 'cloudevents-binary') return { ...alone, headers: [...alone.headers, ...Object.entries(event).map(([name, value]): [string, string] => [`ce-${name}`, value])] };
  if (format === 'raw' || made !== undefined) return alone;
  return { ...alone, body: pretty({ type, timestamp, data, ...(device && { device }) }) };
}

const pretty = (value: unknown) => JSON.stringify(value, null, 2);

/** What the hub takes a body for. */
function typeOf(body: string): string {
  return parsed(body) ? 'application/json' : 'text/plain; charset=utf-8';
}

export function parsed(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

export const formats: [HookFormat, string, string][] = [
  ['standard', 'Standard Webhooks', 'type, timestamp and data as JSON'],
  ['cloudevents', 'CloudEvents', 'structured: all of the event in the body'],
  ['cloudevents-binary', 'CloudEvents, binary', 'the event in headers, the data alone in the body'],
  ['raw', 'Raw', 'the data alone; of a message its payload, byte for byte'],
];

/** Ways to begin a transform, for receivers that want a form of their own. */
export const recipes: { name: string; kind: 'jq' | 'template'; program: string }[] = [
  { name: 'Slack, Mattermost, Rocket.Chat', kind: 'jq', program: '{text: "\\(.topic // .type) \\(if .topic then .data.payload else .device.name // "" end)"}' },
  { name: 'Discord', kind: 'jq', program: '{content: "\\(.topic // .type) \\(if .topic then .data.payload else .device.name // "" end)"}' },
  { name: 'ntfy, plain text', kind: 'template', program: '{{ .topic // .type }} {{ if .topic then "\\(.data.payload)" else .device.name // "" end }}' },
  { name: 'The data with the device’s name', kind: 'jq', program: '.data + {device: .device.name, at: .timestamp}' },
];
