// Lines for a shell that send the example to a source, signed by openssl as its sender would.

import type { HookSource } from '../api';
import type { Sender } from './senders';

type Source = Pick<HookSource, 'url' | 'verify' | 'methods'>;

/** Stands in the example for what the shell makes anew for each request. */
const ID = '@ID@';

/** `secret` is the source's, or what shows where it belongs. `wait` asks for the device's answer. */
export function sendLines(source: Source, sender: Sender, secret: string, wait: boolean): string {
  const { verify } = source;
  const body = quoted(JSON.stringify(sender.body(ID))).replaceAll(ID, `'"$ID"'`);
  const url = quoted(source.url + (wait ? '?wait=5s' : ''));
  const method = source.methods.includes('POST') ? '' : ` -X ${source.methods.find((each) => each !== 'GET') ?? source.methods[0]}`;
  const headers = ['Content-Type: application/json', ...Object.entries(sender.headers).map(([name, value]) => `${name}: ${value}`)].map((line) => `-H ${quoted(line)}`);
  if (sender.idHeader) headers.push(`-H "${sender.idHeader}: $ID"`);
  const { before, headers: proof, needsID } = proofOf(verify, secret);
  const id = needsID || sender.idHeader || body.includes('$ID') ? ['ID=$(openssl rand -hex 8)'] : [];
  const data = before.length ? [`BODY=${body}`] : [];
  const curl = [`curl -i${method} ${url}`, ...headers, ...proof, `--data-raw ${before.length ? '"$BODY"' : body}`].join(' \\\n  ');
  return `${[...id, ...data, ...before, curl].join('\n')}\n`;
}

interface Proof {
  /** Lines that make the variables of the headers. */
  before: string[];
  headers: string[];
  needsID?: boolean;
}

const CUT = "| cut -d' ' -f1";

function proofOf(verify: HookSource['verify'], secret: string): Proof {
  const key = `SECRET=${quoted(secret)}`;
  const time = 'TIME=$(date +%s)';
  const hex = (text: string, hash = 'sha256') => `SIGNATURE=$(printf %s "${text}" | openssl dgst -${hash} -hmac "$SECRET" -r ${CUT})`;
  const base64 = (text: string, hash = 'sha256') => `SIGNATURE=$(printf %s "${text}" | openssl dgst -${hash} -hmac "$SECRET" -binary | openssl base64 -A)`;
  switch (verify.kind) {
    case 'none': return { before: [], headers: [] };
    case 'bearer': return { before: [], headers: [`-H ${quoted(`Authorization: Bearer ${secret}`)}`] };
    case 'basic': return { before: [], headers: [`-u ${quoted(`${verify.username ?? 'hook'}:${secret}`)}`] };
    case 'gitlab': return { before: [], headers: [`-H ${quoted(`X-Gitlab-Token: ${secret}`)}`] };
    case 'github': return { before: [key, hex('$BODY')], headers: ['-H "X-Hub-Signature-256: sha256=$SIGNATURE"'] };
    case 'shopify': return { before: [key, base64('$BODY')], headers: ['-H "X-Shopify-Hmac-Sha256: $SIGNATURE"'] };
    case 'stripe': return { before: [key, time, hex('$TIME.$BODY')], headers: ['-H "Stripe-Signature: t=$TIME,v1=$SIGNATURE"'] };
    case 'slack': return { before: [key, time, hex('v0:$TIME:$BODY')], headers: ['-H "X-Slack-Request-Timestamp: $TIME"', '-H "X-Slack-Signature: v0=$SIGNATURE"'] };
    case 'standard-webhooks': return standard(secret, time);
    case 'hmac': return generic(verify, key, time, verify.encoding === 'base64' ? base64 : hex);
  }
}

function standard(secret: string, time: string): Proof {
  const key = `KEY=$(printf %s ${quoted(secret.replace(/^whsec_/, ''))} | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')`;
  return {
    needsID: true,
    before: [key, time, 'SIGNATURE=$(printf %s "$ID.$TIME.$BODY" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$KEY -binary | openssl base64 -A)'],
    headers: ['-H "webhook-id: $ID"', '-H "webhook-timestamp: $TIME"', '-H "webhook-signature: v1,$SIGNATURE"'],
  };
}

function generic(verify: HookSource['verify'], key: string, time: string, mac: (text: string, hash: string) => string): Proof {
  const places: Record<string, string> = { '{body}': '${BODY}', '{timestamp}': '${TIME}', '{id}': '${ID}' };
  const text = (verify.signed ?? '{body}').split(/(\{(?:body|timestamp|id)\})/).map((part) => places[part] ?? within(part)).join('');
  return {
    needsID: !!verify.id_header,
    before: [key, ...(verify.timestamp_header ? [time] : []), mac(text, verify.algorithm ?? 'sha256')],
    headers: [
      `-H "${within(verify.header!)}: ${within(verify.prefix ?? '')}$SIGNATURE"`, ...(verify.timestamp_header ? [`-H "${within(verify.timestamp_header)}: $TIME"`] : []),
      ...(verify.id_header ? [`-H "${within(verify.id_header)}: $ID"`] : []),
    ],
  };
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Text within a shell's double quotes. */
function within(text: string): string {
  return text.replace(/["\\$`]/g, '\\$&');
}
