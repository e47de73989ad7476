// One connection to GET /api/v1/events that looks after itself: it resumes at the last event it saw, notices a silent
// death by the missing pings, and says when events may have been missed so that lists are read again.

import { backoff } from '../backoff';
import { codeOf } from '../problem';
import { Parser } from './parse';

/** A browser cannot see a half-open connection; the hub's comment ping every 15 s can be missed twice, not thrice. */
const SILENCE = 40_000;

export interface LinkState {
  state: 'connecting' | 'live' | 'down' | 'refused';
  /** When it went down, in ms since the epoch; 0 while live. */
  since: number;
  /** When the next try begins; 0 unless down. */
  retryAt: number;
}

export interface HubMessage {
  id: number;
  type: string;
  at?: string;
  device_id?: string;
  user_id?: string;
  data?: Record<string, unknown>;
}

export interface Listener {
  event(message: HubMessage): void;
  link(state: LinkState): void;
  /** Events may have been missed: whatever was read before must be read again. */
  gap(): void;
}

export class EventStream {
  private lastId = '';
  private tries = 0;
  private downSince = 0;
  private everLive = false;
  private stopped = false;
  private request: AbortController | undefined;
  private wake: (() => void) | undefined;

  constructor(
    private readonly listener: Listener,
    private readonly fetch: typeof globalThis.fetch = globalThis.fetch.bind(globalThis),
  ) {}

  /** Runs until stop; returns also when the hub says that nobody is signed in. */
  async run(): Promise<void> {
    while (!this.stopped) {
      this.say('connecting', 0);
      const refused = await this.once();
      if (this.stopped) return;
      this.downSince ||= Date.now();
      if (refused) return this.say('refused', 0);
      await this.pause();
    }
  }

  /** Tries at once if it is waiting. */
  now(): void {
    this.tries = 0;
    this.wake?.();
  }

  /** Drops the present connection, which may be dead, and makes a new one. */
  renew(): void {
    this.request?.abort();
    this.now();
  }

  stop(): void {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
  }

  private async once(): Promise<boolean> {
    const request = (this.request = new AbortController());
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (this.lastId) headers['Last-Event-ID'] = this.lastId;
    try {
      const reply = await this.fetch('/api/v1/events', { headers, signal: request.signal, cache: 'no-store' });
      if (reply.status === 401 || reply.status === 403) return true;
      if (!reply.ok || !reply.body) throw new Error(codeOf(reply.status));
      this.live();
      await this.read(reply.body, request);
    } catch {
      // Every failure is the same here: wait, then try again.
    }
    return false;
  }

  private live(): void {
    if (this.everLive) this.listener.gap();
    this.everLive = true;
    this.tries = 0;
    this.downSince = 0;
    this.say('live', 0);
  }

  private async read(body: ReadableStream<Uint8Array>, request: AbortController): Promise<void> {
    const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    const parser = new Parser();
    for (;;) {
      const silence = setTimeout(() => request.abort(), SILENCE);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      const messages = parser.push(value);
      this.lastId = parser.lastId || this.lastId;
      for (const message of messages) this.take(message.id, message.event, message.data);
    }
  }

  private take(id: string, event: string, text: string): void {
    if (event === 'gap' || event === 'reset') return this.listener.gap();
    try {
      const body = JSON.parse(text) as Partial<HubMessage>;
      this.listener.event({ ...body, id: Number(id) || body.id || 0, type: body.type ?? event });
    } catch {
      this.listener.gap();
    }
  }

  private pause(): Promise<void> {
    const wait = backoff(this.tries++);
    this.say('down', Date.now() + wait);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private say(state: LinkState['state'], retryAt: number): void {
    this.listener.link({ state, since: this.downSince, retryAt });
  }
}
