// In JavaScript, as the site's types know no Node: what a person copies is run by the programs that it is for.
import { execFileSync } from 'node:child_process';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { languages, placeOf, secretOf, snippetOf } from './snippets';

const body = `{"it's":"a body"}\n`;
const id = 'msg_1';
const timestamp = String(Math.floor(Date.now() / 1000));
const signed = `${id}.${timestamp}.${body}`;
const key = Buffer.from('0123456789abcdef0123456789abcdef');
const secret = `whsec_${key.toString('base64')}`;
const v1 = createHmac('sha256', key).update(signed).digest('base64');
const pair = generateKeyPairSync('ed25519');
const public_key = `whpk_${Buffer.from(pair.publicKey.export({ format: 'jwk' }).x, 'base64url').toString('base64')}`;
const v1a = sign(null, Buffer.from(signed), pair.privateKey).toString('base64');

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'snippets-'));
  writeFileSync(join(dir, 'body'), body);
});
afterAll(() => rmSync(dir, { recursive: true }));

const shell = (script, env) =>
  execFileSync('bash', ['-c', script], { cwd: dir, encoding: 'utf8', env: { ...process.env, ID: id, TIMESTAMP: timestamp, ...env } }).trim();

test('openssl makes the same v1, and verifies v1a', () => {
  expect(shell(snippetOf('openssl', { signature: 'v1', secrets: [] }, secret), {})).toBe(v1);
  const script = snippetOf('openssl', { signature: 'v1a', secrets: [], public_key });
  expect(shell(script, { SIGNATURE: v1a })).toMatch(/Verified Successfully/);
  expect(() => shell(`(${script}) 2>/dev/null`, { SIGNATURE: v1a, ID: 'msg_2' })).toThrow();
});

test('Node verifies v1a by itself', async () => {
  const script = snippetOf('js', { signature: 'v1a', secrets: [], public_key }).replace(/^import express.*$/m, '').replace(/^express\(\)[^]*/m, 'export { isOurs };');
  const { isOurs } = await import(`data:text/javascript,${encodeURIComponent(script)}`);
  const headers = { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,x v1a,${v1a}` };
  expect(isOurs(headers, Buffer.from(body))).toBe(true);
  expect(isOurs(headers, Buffer.from(`${body} `))).toBe(false);
  expect(isOurs({ ...headers, 'webhook-timestamp': String(Number(timestamp) - 301) }, Buffer.from(body))).toBe(false);
});

// What is not signed is refused, and no error of the receiver's.
test('Python verifies v1 by itself', () => {
  writeFileSync(join(dir, 'verify.py'), snippetOf('python', { signature: 'v1', secrets: [] }, secret));
  const fits = { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,x v1,${v1}` };
  const all = [fits, {}, { ...fits, 'webhook-id': 'msg_2' }, { ...fits, 'webhook-timestamp': 'now' }, { ...fits, 'webhook-signature': '' }];
  const script = 'import json, sys, verify; print([verify.is_ours(each, open("body", "rb").read()) for each in json.loads(sys.argv[1])])';
  expect(execFileSync('python3', ['-c', script, JSON.stringify(all)], { cwd: dir, encoding: 'utf8' }).trim()).toBe('[True, False, False, False, False]');
});

test('every language has the secret or the public key in it, and says where to put one that is not known', () => {
  const endpoint = { secrets: [{ id: 's1', hint: 'old!', created_at: '', expires_at: '2026-01-02T03:04:05Z' }, { id: 's2', hint: 'Ab9=', created_at: '' }], public_key };
  for (const [language] of languages) {
    expect(snippetOf(language, { ...endpoint, signature: 'v1' }, secret)).toContain(key.toString('base64'));
    expect(snippetOf(language, { ...endpoint, signature: 'v1a' })).toContain(public_key.slice(5));
    expect(snippetOf(language, { ...endpoint, signature: 'v1' })).toContain('YOUR_SECRET_ENDING_IN_Ab9=');
  }
  expect(secretOf({ secrets: [] }, undefined)).toMatch(/^whsec_YOUR/);
});

test('a receiver listens where its URL leads', () => {
  expect(placeOf('http://localhost:3000/in/hook?x=1')).toEqual({ path: '/in/hook', port: 3000 });
  expect(placeOf('http://192.168.1.5/hook')).toEqual({ path: '/hook', port: 80 });
  expect(placeOf('https://shop.example/in')).toEqual({ path: '/in', port: 8000 }); // something that ends TLS stands before it
  for (const odd of ['', 'https://shop.example', "https://shop.example/it's/:id", 'https://shop.example/a%7Bb', 'https://shop.example/a//b']) expect(placeOf(odd).path).toBe('/hook');
  for (const signature of ['v1', 'v1a']) {
    const endpoint = { signature, secrets: [], public_key, url: 'http://localhost:3000/in' };
    expect(snippetOf('js', endpoint, secret)).toMatch(/post\('\/in'[^]*listen\(3000\)/);
    expect(snippetOf('go', endpoint, secret)).toMatch(/"POST \/in"[^]*":3000"/);
  }
});
