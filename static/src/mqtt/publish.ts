// What is written into the publish form, checked, and as the API takes it.

import type { MQTTPublish } from '../api';
import { base64Of, bytesOf } from './message';
import { topicError } from './topics';

export type PayloadKind = 'text' | 'json' | 'base64';

export interface Draft {
  topic: string;
  kind: PayloadKind;
  payload: string;
  qos: 0 | 1 | 2;
  retain: boolean;
  content_type: string;
  response_topic: string;
  correlation: string;
  /** In seconds; empty for never. */
  expiry: string;
  properties: { name: string; value: string }[];
  /** Wait for the reply, so many seconds. */
  request: boolean;
  wait: string;
}

export function emptyDraft(): Draft {
  return {
    topic: '', kind: 'text', payload: '', qos: 0, retain: false, content_type: '', response_topic: '', correlation: '', expiry: '', properties: [],
    request: false, wait: '5',
  };
}

export type Field = 'topic' | 'payload' | 'response_topic' | 'expiry' | 'wait' | 'properties';

/** What is wrong with a draft, by field; empty where it can be sent. */
export function draftErrors(draft: Draft): Partial<Record<Field, string>> {
  const errors: [Field, string][] = [
    ['topic', topicError(draft.topic)],
    ['payload', payloadError(draft.kind, draft.payload)],
    ['response_topic', draft.response_topic && topicError(draft.response_topic)],
    ['expiry', draft.expiry && !inRange(draft.expiry, 1, 4_294_967_295, true) ? 'Whole seconds from 1 to 4,294,967,295.' : ''],
    ['wait', draft.request && !inRange(draft.wait, 0.1, 30, false) ? 'From 0.1 to 30 seconds.' : ''],
    ['properties', draft.properties.some(({ name, value }) => !name && value) ? 'A property has a name.' : ''],
  ];
  return Object.fromEntries(errors.filter(([, text]) => text));
}

function inRange(text: string, least: number, most: number, whole: boolean): boolean {
  const value = Number(text);
  return text.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value));
}

export function payloadError(kind: PayloadKind, payload: string): string {
  if (kind === 'text' || payload === '') return '';
  if (kind === 'base64') return /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(payload.replace(/\s/g, '')) ? '' : 'This is no base64.';
  try {
    JSON.parse(payload);
    return '';
  } catch (error) {
    return `No JSON: ${(error as Error).message}`;
  }
}

/** The request for a draft without errors. */
export function requestOf(draft: Draft, device: string): MQTTPublish {
  const properties = draft.properties.filter(({ name }) => name);
  return {
    topic: draft.topic,
    ...(draft.kind === 'base64' ? { payload_base64: draft.payload.replace(/\s/g, '') } : { payload: draft.payload }),
    qos: draft.qos,
    retain: draft.retain,
    ...(device && { device }),
    ...(draft.content_type && { content_type: draft.content_type }),
    ...(draft.response_topic && { response_topic: draft.response_topic }),
    ...(draft.correlation && { correlation_base64: base64Of(new TextEncoder().encode(draft.correlation)) }),
    ...(draft.expiry && { expiry_seconds: Number(draft.expiry) }),
    ...(properties.length && { user_properties: properties }),
    ...(draft.request && { wait_seconds: Number(draft.wait) }),
  };
}

/** The draft that a saved message was. */
export function draftOf(message: MQTTPublish): Draft {
  const base64 = message.payload_base64 !== undefined;
  return {
    ...emptyDraft(),
    topic: message.topic,
    kind: base64 ? 'base64' : looksLikeJSON(message.payload ?? '') ? 'json' : 'text',
    payload: (base64 ? message.payload_base64 : message.payload) ?? '',
    qos: (message.qos ?? 0) as Draft['qos'],
    retain: message.retain ?? false,
    content_type: message.content_type ?? '',
    response_topic: message.response_topic ?? '',
    correlation: message.correlation_base64 ? new TextDecoder().decode(bytesOf(message.correlation_base64)) : '',
    expiry: message.expiry_seconds ? String(message.expiry_seconds) : '',
    properties: (message.user_properties ?? []).map(({ name, value }) => ({ name, value })),
    request: message.wait_seconds !== undefined,
    wait: String(message.wait_seconds ?? 5),
  };
}

function looksLikeJSON(text: string): boolean {
  return /^\s*[[{]/.test(text) && payloadError('json', text) === '';
}
