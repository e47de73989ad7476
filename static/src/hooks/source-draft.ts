// The form of a source: what a person typed, what is wrong with it, and the request that it makes.

import type { HookAction, HookSource, HookSourceChange, HookSourceRequest, HookTransform } from '../api';
import { senderOf, type Kind } from './senders';
import { isHeader, newVerification, numberError, verificationDraftOf, verifyOf, type VerificationDraft, type VerificationField } from './verification';

export type Method = HookSource['methods'][number];

export interface SourceDraft extends VerificationDraft {
  slug: string;
  name: string;
  does: HookAction['kind'];
  topic: string;
  topicPrefix: string;
  qos: string;
  retain: boolean;
  correlation: NonNullable<HookAction['correlation']>;
  /** Whose command runs; of a message, whose state says whether somebody can answer. */
  device: string;
  command: string;
  arguments: Record<string, string>;
  shape: HookTransform['kind'] | '';
  program: string;
  methods: Method[];
  kilobytes: string;
  rate: string;
  burst: string;
  dedupeHeader: string;
  dedupeHours: string;
  /** In seconds. */
  expires: string;
  offline: HookSource['offline'];
}

export type SourceField =
  | VerificationField | 'slug' | 'name' | 'topic' | 'topic_prefix' | 'device' | 'command' | 'transform' | 'methods' | 'max_bytes' | 'rate' | 'burst' | 'dedupe';
export type SourceErrors = Partial<Record<SourceField, string>>;

const blank: SourceDraft = {
  ...newVerification('bearer'), slug: '', name: '', does: 'publish', topic: '', topicPrefix: '', qos: '1', retain: false, correlation: 'v5', device: '', command: '', arguments: {},
  shape: '', program: '', methods: ['POST'], kilobytes: '1024', rate: '20', burst: '50', dedupeHeader: '', dedupeHours: '24', expires: '3600',
  offline: 'refuse',
};

export function newSourceDraft(kind: Kind, slug: string): SourceDraft {
  return { ...blank, kind, slug, topic: senderOf(kind)?.topic ?? '', arguments: {}, methods: ['POST'] };
}

export function sourceDraftOf(source: HookSource): SourceDraft {
  const { verify, action, dedupe, transform } = source;
  return {
    ...blank, ...verificationDraftOf(verify), slug: source.slug, name: source.name,
    does: action.kind, topic: action.topic ?? '', topicPrefix: action.topic_prefix ?? '', qos: String(action.qos ?? 1), retain: action.retain ?? false,
    correlation: action.correlation ?? 'v5', device: action.device ?? '', command: action.command ?? '', arguments: { ...action.arguments },
    shape: transform?.kind ?? '', program: transform?.text ?? '', methods: [...source.methods], kilobytes: String(source.max_bytes / 1024), rate: String(source.rate),
    burst: String(source.burst), dedupeHeader: dedupe.header ?? '', dedupeHours: String(dedupe.hours ?? 24), expires: String(source.expires_seconds), offline: source.offline,
  };
}

/** What keeps the form from being sent, beside the verification; the hub finds the rest. */
export function sourceErrors(draft: SourceDraft): SourceErrors {
  const errors: SourceErrors = {};
  const add = (field: SourceField, text: string) => text && (errors[field] ??= text);
  if (draft.kind !== 'none' && draft.slug && !isSlug(draft.slug)) add('slug', 'At most 63 of a–z, 0–9 and dash, no dash first or last; not “requests”.');
  if (new TextEncoder().encode(draft.name).length > 100) add('name', 'At most 100 bytes.');
  if (draft.does === 'publish') {
    add('topic', topicError(draft.topic, draft.topicPrefix));
    if (draft.topicPrefix && topicFault(draft.topicPrefix)) add('topic_prefix', topicFault(draft.topicPrefix));
  }
  if (draft.does === 'command') {
    if (!draft.device) add('device', 'Choose the device.');
    else if (!draft.command) add('command', 'Choose one of its commands.');
  }
  if (draft.does !== 'store' && draft.shape && !draft.program.trim()) add('transform', draft.shape === 'jq' ? 'Write the program, as .body' : 'Write the text, as {{ .body.door }}');
  if (draft.methods.length === 0) add('methods', 'Choose at least one.');
  add('max_bytes', numberError(draft.kilobytes, 0.001, 25 * 1024));
  add('rate', numberError(draft.rate, 0.01, 10_000));
  add('burst', numberError(draft.burst, 1, 10_000, true));
  if (draft.dedupeHeader && !isHeader(draft.dedupeHeader)) add('dedupe', `“${draft.dedupeHeader}” is no name of a header.`);
  add('dedupe', numberError(draft.dedupeHours, 0, 168, true));
  return errors;
}

const isSlug = (text: string) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text) && text !== 'requests';

export const isTemplate = (text: string) => text.includes('{{');

/** What is wrong with a topic as it is written, empty where nothing is. */
export function topicError(topic: string, prefix: string): string {
  if (!topic.trim()) return 'To which topic? As garage/door';
  if (!isTemplate(topic)) return topicFault(topic);
  const front = topic.slice(0, topic.indexOf('{{'));
  if (front === '' && !prefix) return 'Begin with fixed text, as github/, or say below what it must lie: whoever sends could write any topic otherwise.';
  return /[+#$]/.test(front) ? 'A message goes to one topic: +, # and $ are for filters.' : '';
}

/** What is wrong with a topic as it comes out, by the hub's rules. `made` is whether values stand in it: they make no empty level. */
export function topicFault(topic: string, made = false): string {
  const levels = topic.split('/');
  if (topic === '') return 'The topic is empty.';
  if (/[+#$]/.test(topic)) return 'A message goes to one topic: it has no +, # or $.';
  if (/[\u0000-\u001f\u007f-\u009f]/.test(topic)) return 'It has a control character.';
  if (new TextEncoder().encode(topic).length > 256) return 'It has more than 256 bytes.';
  if (levels.length > 16) return 'It has more than 16 levels.';
  if (levels[0] === 'replies') return 'Topics below replies/ are for answers.';
  return made && levels.includes('') ? 'A value is empty, and so would be a level of the topic.' : '';
}

/** What stands before the first {{, or the prefix: topics that come out lie below it. */
export function frontOf(topic: string, prefix: string): string {
  return prefix ? `${prefix.replace(/\/$/, '')}/` : topic.split('{{', 1)[0]!;
}

function actionOf(draft: SourceDraft): HookAction {
  if (draft.does === 'store') return { kind: 'store' };
  if (draft.does === 'command') {
    return { kind: 'command', device: draft.device, command: draft.command, ...(Object.keys(draft.arguments).length && { arguments: draft.arguments }) };
  }
  return {
    kind: 'publish', topic: draft.topic.trim(), qos: Number(draft.qos), retain: draft.retain, correlation: draft.correlation,
    ...(draft.topicPrefix.trim() && { topic_prefix: draft.topicPrefix.trim() }), ...(draft.device && { device: draft.device }),
  };
}

export function shapeOf({ shape, program, does }: Pick<SourceDraft, 'shape' | 'program' | 'does'>): HookTransform | undefined {
  return shape && does !== 'store' ? { kind: shape, text: program } : undefined;
}

/** The part that a new source and a changed one have in common. */
function common(draft: SourceDraft) {
  return {
    methods: draft.methods, max_bytes: Math.round(Number(draft.kilobytes) * 1024), rate: Number(draft.rate), burst: Number(draft.burst),
    dedupe: { hours: Number(draft.dedupeHours), ...(draft.dedupeHeader.trim() && { header: draft.dedupeHeader.trim() }) },
    expires_seconds: Number(draft.expires), offline: draft.offline, action: actionOf(draft),
  } as const;
}

export function sourceRequestOf(draft: SourceDraft): HookSourceRequest {
  const transform = shapeOf(draft);
  return {
    verify: verifyOf(draft), ...(common(draft) as Pick<HookSourceRequest, 'action'>), ...(draft.kind !== 'none' && draft.slug.trim() && { slug: draft.slug.trim() }),
    ...(draft.name.trim() && { name: draft.name.trim() }), ...(draft.kind !== 'none' && draft.secret.trim() && { secret: draft.secret.trim() }), ...(transform && { transform }),
  };
}

/**
 * Only what a person changed: `before` is what the form began with, so that two people who change different things do not undo each
 * other's. The verification is changed by itself.
 */
export function sourceChangesOf(before: SourceDraft, draft: SourceDraft): HookSourceChange {
  const was: Record<string, unknown> = { ...common(before), name: before.name };
  const is = { ...common(draft), name: draft.name.trim() || before.name };
  const changes: HookSourceChange = Object.fromEntries(Object.entries(is).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(was[name])));
  const transform = shapeOf(draft);
  if (JSON.stringify(transform) !== JSON.stringify(shapeOf(before))) Object.assign(changes, transform ? { transform } : { no_transform: true });
  return changes;
}
