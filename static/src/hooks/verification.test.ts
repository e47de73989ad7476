import { describe, expect, test } from 'vitest';
import type { HookVerification } from '../api';
import { madeSecret, newVerification, verificationChangeOf, verificationDraftOf, verificationErrors, verifyOf, type VerificationDraft } from './verification';

test('hmac says only what was chosen', () => {
  expect(verifyOf({ ...newVerification('hmac'), signed: '{timestamp}.{body}', timestampHeader: 'X-Time' })).toEqual({
    kind: 'hmac', header: 'X-Signature', encoding: 'hex', algorithm: 'sha256', signed: '{timestamp}.{body}', timestamp_header: 'X-Time', tolerance_seconds: 300,
  });
});

test.each([
  { kind: 'none' }, { kind: 'basic', username: 'door' }, { kind: 'slack', tolerance_seconds: 60 },
  { kind: 'hmac', header: 'X-Sign', prefix: 'v1=', encoding: 'base64', algorithm: 'sha512', signed: '{id}.{timestamp}.{body}', timestamp_header: 'X-Time', id_header: 'X-Id', tolerance_seconds: 30 },
] as HookVerification[])('$kind comes out of the form as it went in', (verify) => expect(verifyOf(verificationDraftOf(verify))).toEqual(verify));

test.each([
  [{ kind: 'basic', username: 'a:b' }, 'username', /colon/],
  [{ kind: 'hmac', header: 'X Y' }, 'header', /Which header/],
  [{ kind: 'hmac', signed: '{timestamp}' }, 'signed', /\{body\}/],
  [{ kind: 'hmac', signed: '{timestamp}.{body}' }, 'signed', /belong together/],
  [{ kind: 'hmac', idHeader: 'X-Id' }, 'signed', /\{id\}/],
  [{ kind: 'slack', tolerance: '0' }, 'tolerance', /3600/],
] as [Partial<VerificationDraft>, 'header', RegExp][])('%j', (changes, field, want) => {
  expect(verificationErrors({ ...newVerification('bearer'), ...changes })[field]).toMatch(want);
});

describe('a change', () => {
  const hmac: HookVerification = { kind: 'hmac', header: 'X-Sign', encoding: 'hex', algorithm: 'sha256', signed: '{body}' };
  const draft = (changes: Partial<VerificationDraft>) => ({ ...verificationDraftOf(hmac), ...changes });
  test('is none where all is as it was', () => expect(verificationChangeOf(hmac, draft({}), 'made here')).toEqual({}));
  test('of the same kind keeps the secret, whatever was typed for another', () => {
    expect(verificationChangeOf(hmac, draft({ header: 'X-Other', secret: 'typed before' }), 'made here')).toEqual({ verify: { ...hmac, header: 'X-Other' } });
  });
  test('to another kind takes the secret that was typed, else one that was made', () => {
    expect(verificationChangeOf(hmac, draft({ kind: 'bearer', secret: ' a token ' }), 'made here')).toEqual({ verify: { kind: 'bearer' }, secret: 'a token' });
    expect(verificationChangeOf(hmac, draft({ kind: 'github' }), 'made here')).toEqual({ verify: { kind: 'github' }, secret: 'made here' });
  });
  test('to none has no secret', () => expect(verificationChangeOf(hmac, draft({ kind: 'none', secret: 'typed before' }), 'made here')).toEqual({ verify: { kind: 'none' } }));
});

test('made secrets differ, and are of the standard where that is asked for', () => {
  expect(madeSecret('github')).toMatch(/^[0-9a-f]{64}$/);
  expect(madeSecret('github')).not.toBe(madeSecret('github'));
  expect(madeSecret('standard-webhooks')).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
});
