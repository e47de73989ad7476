// How a source knows its sender: what a person chose and typed, what is wrong with it, and what the hub is asked.

import type { HookSource, HookSourceChange, HookVerification } from '../api';
import { base64Of } from '../mqtt/message';
import type { Kind } from './senders';

export interface VerificationDraft {
  kind: Kind;
  secret: string;
  username: string;
  header: string;
  prefix: string;
  encoding: 'hex' | 'base64';
  algorithm: 'sha256' | 'sha1' | 'sha512';
  signed: string;
  timestampHeader: string;
  idHeader: string;
  /** In seconds. */
  tolerance: string;
}

/** `verify` is what the hub finds in any of the others but the secret. */
export type VerificationField = 'secret' | 'username' | 'header' | 'signed' | 'tolerance' | 'verify';
export type VerificationErrors = Partial<Record<VerificationField, string>>;

export function newVerification(kind: Kind): VerificationDraft {
  return {
    kind, secret: '', username: 'hook', header: 'X-Signature', prefix: '', encoding: 'hex', algorithm: 'sha256', signed: '{body}', timestampHeader: '', idHeader: '', tolerance: '300',
  };
}

export function verificationDraftOf(verify: HookVerification): VerificationDraft {
  const blank = newVerification(verify.kind);
  return {
    ...blank, username: verify.username ?? blank.username, header: verify.header ?? blank.header, prefix: verify.prefix ?? '', encoding: verify.encoding ?? blank.encoding,
    algorithm: verify.algorithm ?? blank.algorithm, signed: verify.signed ?? blank.signed, timestampHeader: verify.timestamp_header ?? '', idHeader: verify.id_header ?? '',
    tolerance: String(verify.tolerance_seconds ?? blank.tolerance),
  };
}

/** What keeps it from being sent; the hub finds the rest. */
export function verificationErrors(draft: VerificationDraft): VerificationErrors {
  const errors: VerificationErrors = {};
  if (draft.kind === 'basic' && !/^[^:\r\n]{1,100}$/.test(draft.username)) errors.username = 'A name without a colon.';
  if (draft.kind === 'hmac') hmacErrors(draft, (field, text) => (errors[field] ??= text));
  const tolerance = isTimed(draft) && numberError(draft.tolerance, 1, 3600, true);
  if (tolerance) errors.tolerance = tolerance;
  return errors;
}

function hmacErrors(draft: VerificationDraft, add: (field: VerificationField, text: string) => void): void {
  if (!isHeader(draft.header)) add('header', 'Which header carries the signature? As X-Signature');
  if (draft.signed.split('{body}').length !== 2) add('signed', 'What is signed has {body} in it, once.');
  if (draft.signed.includes('{timestamp}') !== !!draft.timestampHeader) add('signed', '{timestamp} and the header with the time belong together.');
  if (draft.signed.includes('{id}') !== !!draft.idHeader) add('signed', '{id} and the header with the id belong together.');
  for (const name of [draft.timestampHeader, draft.idHeader]) if (name && !isHeader(name)) add('signed', `“${name}” is no name of a header.`);
}

export const isHeader = (text: string) => /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/.test(text);

export function numberError(text: string, least: number, most: number, whole = false): string {
  const value = Number(text);
  const fits = text.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value));
  return fits ? '' : `${whole ? 'A whole number' : 'A number'} from ${least} to ${most}.`;
}

/** Whether requests carry a time that is verified with them. */
export function isTimed({ kind, timestampHeader }: Pick<VerificationDraft, 'kind' | 'timestampHeader'>): boolean {
  return kind === 'standard-webhooks' || kind === 'stripe' || kind === 'slack' || (kind === 'hmac' && timestampHeader !== '');
}

export function verifyOf(draft: VerificationDraft): HookVerification {
  const timed = isTimed(draft) && { tolerance_seconds: Number(draft.tolerance) };
  if (draft.kind === 'basic') return { kind: draft.kind, username: draft.username };
  if (draft.kind !== 'hmac') return { kind: draft.kind, ...timed };
  return {
    kind: draft.kind, header: draft.header.trim(), encoding: draft.encoding, algorithm: draft.algorithm, signed: draft.signed, ...timed, ...(draft.prefix && { prefix: draft.prefix }),
    ...(draft.timestampHeader && { timestamp_header: draft.timestampHeader.trim() }), ...(draft.idHeader && { id_header: draft.idHeader.trim() }),
  };
}

/** A secret as the hub makes them. Where the sender makes its own, it lets nobody in until that is pasted. */
export function madeSecret(kind: Kind): string {
  const random = crypto.getRandomValues(new Uint8Array(32));
  return kind === 'standard-webhooks' ? `whsec_${base64Of(random)}` : [...random].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * What to ask the hub for, nothing where all is as it was. Another kind takes a secret of its own: the one that was typed, else
 * `made`. That of the same kind stays.
 */
export function verificationChangeOf(before: HookSource['verify'], draft: VerificationDraft, made: string): HookSourceChange {
  const verify = verifyOf(draft);
  if (JSON.stringify(verify) === JSON.stringify(verifyOf(verificationDraftOf(before)))) return {};
  if (draft.kind === before.kind || draft.kind === 'none') return { verify };
  return { verify, secret: draft.secret.trim() || made };
}
