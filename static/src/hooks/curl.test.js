// In JavaScript, as the site's types know no Node: a shell reads the line.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { base64Of } from '../mqtt/message';
import { curlOf } from './curl';

const bytes = (text) => base64Of(new TextEncoder().encode(text));
const attempt = (changes) => ({ method: 'POST', url: 'https://shop.example/hook', request_headers: [{ name: 'Content-Type', value: 'application/json' }], request_body: bytes('{}'), ...changes });

/** What a shell makes of the line: the arguments that curl would get, and its standard input. */
function run(line) {
  const script = `curl() { for each in "$@"; do printf '%s\\0' "$each"; done; printf '\\0\\0'; if [ "\${*: -1}" = @- ]; then cat; fi; }\n${line}`;
  const [args, input] = execFileSync('bash', ['-c', script], { encoding: 'latin1' }).split('\0\0\0');
  return { args: args.split('\0'), input };
}

test('the shell gives curl what was sent', () => {
  const body = `{"who":"it's $(id) \`id\` \\ !\n"}`;
  const { args } = run(curlOf(attempt({ url: `https://shop.example/h?a=1&b=$(id)'`, request_body: bytes(body) })));
  expect(args.slice(0, 5)).toEqual(['--globoff', '-i', '-X', 'POST', `https://shop.example/h?a=1&b=$(id)'`]);
  expect(args.slice(-2)).toEqual(['--data-raw', body]);
  expect(args).toContain('Content-Type: application/json');
});

test('bytes that are no text go in by standard input', () => {
  const { args, input } = run(curlOf(attempt({ request_body: base64Of(Uint8Array.of(0, 255, 10)) })));
  expect(args.at(-1)).toBe('@-');
  expect([...input].map((char) => char.charCodeAt(0))).toEqual([0, 255, 10]);
});

test('what curl makes itself is left out, and a secret is asked for', () => {
  const line = curlOf(attempt({ request_headers: [{ name: 'Host', value: 'x' }, { name: 'Content-Length', value: '2' }, { name: 'Authorization', value: '***' }, { name: 'X-Empty', value: '' }] }));
  expect(line).toMatch(/^# Put the secret in place of \*\*\*: Authorization\n/);
  expect(line).not.toMatch(/Host|Content-Length/);
  expect(line).toContain(`-H 'X-Empty;'`);
  expect(curlOf(attempt({ request_body: '' }))).not.toContain('--data');
});
