// An attempt as a line of curl that sends the same bytes again.

import type { HookAttempt } from '../api';
import { bytesOf } from '../mqtt/message';
import { shellWord } from '../text';

/** curl makes these itself; a wrong length would hang. */
const OWN = /^(host|content-length|connection|accept-encoding|transfer-encoding)$/i;
const MASKED = '***';

type Sent = Pick<HookAttempt, 'method' | 'url' | 'request_headers' | 'request_body'>;

/** Bytes that are no text go in as base64, as a shell's words cannot hold a NUL. */
export function curlOf(attempt: Sent): string {
  const headers = attempt.request_headers.filter(({ name }) => !OWN.test(name));
  const secrets = headers.filter(({ value }) => value === MASKED).map(({ name }) => name);
  const text = textOf(attempt.request_body);
  const parts = [
    `curl --globoff -i -X ${shellWord(attempt.method)} ${shellWord(attempt.url)}`,
    ...headers.map(({ name, value }) => `-H ${quoted(value ? `${name}: ${value}` : `${name};`)}`),
    ...(attempt.request_body ? [text === undefined ? '--data-binary @-' : `--data-raw ${quoted(text)}`] : []),
  ];
  const before = attempt.request_body && text === undefined ? `printf %s ${attempt.request_body} | base64 -d | ` : '';
  const note = secrets.length ? `# Put the secret in place of ${MASKED}: ${secrets.join(', ')}\n` : '';
  return `${note}${before}${parts.join(' \\\n  ')}`;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function textOf(base64: string): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytesOf(base64));
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}
