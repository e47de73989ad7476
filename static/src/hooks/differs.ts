// How an attempt differs from one that arrived.

import type { HookAttempt, HookHeader } from '../api';
import { diff, type DiffLine } from '../mqtt/diff';
import { bytesOf } from '../mqtt/message';
import { comparable, visible } from './body';

/** These differ between any two attempts and say nothing about why one failed. */
const ALWAYS = /^(webhook-(id|timestamp|signature)|adit-replay|date|content-length|ce-id|ce-time|age|x-request-id)$/i;

export interface Difference {
  request: DiffLine[];
  response: DiffLine[];
}

export function differenceOf(success: HookAttempt, attempt: HookAttempt): Difference {
  return { request: diff(requestText(success), requestText(attempt)), response: diff(responseText(success), responseText(attempt)) };
}

export function isSame(lines: readonly DiffLine[]): boolean {
  return lines.every(({ kind }) => kind === 'same');
}

function requestText(attempt: HookAttempt): string {
  return [`${attempt.method} ${visible(attempt.url)}`, ...headerLines(attempt.request_headers), '', comparable(bytesOf(attempt.request_body), false)].join('\n');
}

function responseText(attempt: HookAttempt): string {
  if (!attempt.status) return visible(attempt.error ?? 'No answer');
  return [String(attempt.status), ...headerLines(attempt.response_headers ?? []), '', comparable(bytesOf(attempt.response_body ?? ''), !!attempt.response_cut)].join('\n');
}

function headerLines(headers: readonly HookHeader[]): string[] {
  return headers.filter(({ name }) => !ALWAYS.test(name)).map(({ name, value }) => visible(`${name.toLowerCase()}: ${value}`)).toSorted();
}
