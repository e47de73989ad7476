// In JavaScript, as the site's types know no Node: a shell and openssl make the requests, Node's crypto judges them.
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { sendLines } from './send-line';
import { senderOf } from './senders';
import { signatureOf } from './sign';

const url = 'https://hub.example/hook/garage';
const secret = `it's "$(id)" \`x\` \\`;
const whsec = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const mac = (text, algorithm = 'sha256', key = secret) => createHmac(algorithm, key).update(text);
const hmac = { kind: 'hmac', header: 'X-Sig', prefix: 'v1=', encoding: 'base64', algorithm: 'sha512', signed: '{id}:{timestamp}:$"{body}', timestamp_header: 'X-Time', id_header: 'X-Id' };

/** What a shell gives curl: its address, headers and body. */
function run(lines) {
  const script = `curl() { for each in "$@"; do printf '%s\\0' "$each"; done; }\n${lines}`;
  const args = execFileSync('bash', ['-euc', script], { encoding: 'utf8' }).split('\0').slice(0, -1);
  const after = (name) => args.flatMap((each, i) => (each === name ? [args[i + 1]] : []));
  return { args, url: args.find((each) => each.startsWith('https:')), body: after('--data-raw')[0], user: after('-u')[0], ...headersOf(after('-H')) };
}

function headersOf(lines) {
  return { headers: Object.fromEntries(lines.map((line) => line.split(/: (.*)/s).slice(0, 2)).map(([name, value]) => [name.toLowerCase(), value])) };
}

/** Whether headers belong to a body. */
const fits = {
  none: () => true,
  bearer: ({ headers }) => headers.authorization === `Bearer ${secret}`,
  basic: ({ user, headers }) => user === `hook:${secret}` || headers.authorization === `Basic ${btoa(`hook:${secret}`)}`,
  gitlab: ({ headers }) => headers['x-gitlab-token'] === secret,
  github: ({ headers, body }) => headers['x-hub-signature-256'] === `sha256=${mac(body).digest('hex')}`,
  shopify: ({ headers, body }) => headers['x-shopify-hmac-sha256'] === mac(body).digest('base64'),
  stripe: ({ headers, body }) => {
    const [, time, made] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(headers['stripe-signature']);
    return made === mac(`${time}.${body}`).digest('hex') && Math.abs(time - Date.now() / 1000) < 60;
  },
  slack: ({ headers, body }) => headers['x-slack-signature'] === `v0=${mac(`v0:${headers['x-slack-request-timestamp']}:${body}`).digest('hex')}`,
  'standard-webhooks': ({ headers, body }) => {
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    return headers['webhook-signature'] === `v1,${mac(signed, 'sha256', Buffer.from(whsec.slice(6), 'base64')).digest('base64')}`;
  },
  hmac: ({ headers, body }) => headers['x-sig'] === `v1=${mac(`${headers['x-id']}:${headers['x-time']}:$"${body}`, 'sha512').digest('base64')}`,
};

describe.each(Object.keys(fits))('%s', (kind) => {
  const sender = senderOf(kind);
  const verify = kind === 'hmac' ? hmac : { kind };
  const known = kind === 'standard-webhooks' ? whsec : secret;
  const source = { url, verify, methods: ['POST'] };

  test('the lines send an example that verifies', () => {
    const made = run(sendLines(source, sender, known, false));
    expect(made.url).toBe(url);
    expect(fits[kind](made)).toBe(true);
    expect(Object.keys(JSON.parse(made.body))).toEqual(Object.keys(sender.body('x')));
    for (const [name, value] of Object.entries(sender.headers)) expect(made.headers[name.toLowerCase()]).toBe(value);
  });

  test('the browser signs the same', async () => {
    const body = JSON.stringify(sender.body('7'));
    const headers = Object.fromEntries(Object.entries(await signatureOf(verify, known, body, '7', Date.now())).map(([name, value]) => [name.toLowerCase(), value]));
    expect(fits[kind]({ headers, body })).toBe(true);
  });
});

test('each run is another request, or the hub would take it for a repeat', () => {
  const ids = ['github', 'stripe', 'slack', 'standard-webhooks'].map((kind) => {
    const lines = sendLines({ url, verify: { kind }, methods: ['POST'] }, senderOf(kind), whsec, false);
    const [one, other] = [run(lines), run(lines)];
    return [one.body + one.headers['webhook-id'] + one.headers['x-github-delivery'], other.body + other.headers['webhook-id'] + other.headers['x-github-delivery']];
  });
  for (const [one, other] of ids) expect(one).not.toBe(other);
});

test('it waits where that is asked, and speaks a method that the source takes', () => {
  const made = run(sendLines({ url, verify: { kind: 'none' }, methods: ['PUT'] }, senderOf('none'), '', true));
  expect(made.url).toBe(`${url}?wait=5s`);
  expect(made.args.slice(0, 3)).toEqual(['-i', '-X', 'PUT']);
});

test('a public key signs nothing', async () => {
  await expect(signatureOf({ kind: 'standard-webhooks' }, 'whpk_AAAA', '{}', '1', 0)).rejects.toThrow(/Only the sender/);
});
