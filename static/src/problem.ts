// What went wrong, in words for a person: one row per code of the error table, plus the two that only a browser knows.

import type { components } from './api.gen';

export type Code = components['schemas']['Problem']['code'] | 'unreachable';

/** The one thing that a person can do about a problem. */
export type Remedy = 'sign-in' | 'devices' | 'retry' | 'reload' | 'none';

interface Row {
  title: string;
  remedy: Remedy;
  fallback: string;
}

const table: Record<Code, Row> = {
  invalid: { title: 'That does not fit', remedy: 'none', fallback: 'Check what was entered and send it again.' },
  unauthenticated: { title: 'You are signed out', remedy: 'sign-in', fallback: 'Sign in again; you come back to this page.' },
  forbidden: { title: 'You may not do this', remedy: 'devices', fallback: 'An admin of this hub can grant it to you.' },
  not_found: { title: 'Not here', remedy: 'devices', fallback: 'It does not exist, or you have no access to it.' },
  conflict: { title: 'Something else got there first', remedy: 'reload', fallback: 'Load the present state, then try again.' },
  too_large: { title: 'Too large', remedy: 'none', fallback: 'Send less at once.' },
  rate_limited: { title: 'Too many tries', remedy: 'retry', fallback: 'Wait a minute, then try again.' },
  offline: { title: 'The device cannot be reached', remedy: 'retry', fallback: 'It is offline or does not answer. It reconnects by itself when it can.' },
  internal: { title: 'The hub made a mistake', remedy: 'retry', fallback: 'Nothing you did. The hub’s log has the details under this request’s id.' },
  unreachable: { title: 'The hub does not answer', remedy: 'retry', fallback: 'Check your connection. What you see here stays until it is back.' },
};

export class Problem extends Error {
  override readonly name = 'Problem';

  constructor(
    readonly code: Code,
    readonly detail: string = '',
    readonly fields: Record<string, string> = {},
    readonly requestId: string = '',
  ) {
    super(detail || table[code].fallback);
  }

  get title(): string {
    return table[this.code].title;
  }

  get remedy(): Remedy {
    return table[this.code].remedy;
  }
}

/** Makes a Problem of whatever a reply's body was; a proxy's HTML page counts by its status alone. */
export function fromReply(status: number, body: unknown): Problem {
  const told = (typeof body === 'object' && body !== null ? body : {}) as Partial<components['schemas']['Problem']>;
  const code = told.code && told.code in table ? told.code : codeOf(status);
  return new Problem(code, told.detail ?? '', told.fields ?? {}, told.request_id ?? '');
}

export function codeOf(status: number): Code {
  const codes: Record<number, Code> = {
    400: 'invalid', 401: 'unauthenticated', 403: 'forbidden', 404: 'not_found', 409: 'conflict', 413: 'too_large', 429: 'rate_limited',
    502: 'unreachable', 503: 'offline', 504: 'unreachable',
  };
  return codes[status] ?? 'internal';
}

/** The word for a WebSocket close code of the error table. */
export function codeOfClose(close: number): Code | undefined {
  const codes: Record<number, Code> = {
    1008: 'invalid', 4401: 'unauthenticated', 4403: 'forbidden', 4404: 'not_found', 4409: 'conflict', 1009: 'too_large', 1013: 'rate_limited',
    4503: 'offline',
  };
  return codes[close];
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof TypeError) return new Problem('unreachable');
  return new Problem('internal', error instanceof Error ? error.message : String(error));
}
