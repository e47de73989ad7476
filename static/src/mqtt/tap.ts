// One connection to GET /api/v1/mqtt/tap that looks after itself. A page that cannot follow is helped by the hub, which
// merges and counts; here nothing waits.

import type { MQTTFrame } from '../api';
import { urlOf } from '../api';
import { backoff } from '../backoff';
import { Parser, type Message } from '../events/parse';
import { asProblem, fromReply, Problem } from '../problem';

/** The hub's comment ping every 15 s can be missed twice. */
const SILENCE = 40_000;
/** Codes that a new try does not change. */
const final = new Set<Problem['code']>(['invalid', 'unauthenticated', 'forbidden', 'not_found']);

export interface TapState {
  state: 'connecting' | 'live' | 'down' | 'refused';
  /** When the next try begins, in ms since the epoch; 0 unless down. */
  retryAt: number;
  problem: Problem | undefined;
}

export interface TapListener {
  frame(frame: MQTTFrame): void;
  state(state: TapState): void;
}

/** What a tap's event says: a frame, why the source cannot be reached, or nothing that is known here. */
export function readEvent({ event, data }: Pick<Message, 'event' | 'data'>): MQTTFrame | Problem | undefined {
  if (event !== 'frame' && event !== 'problem') return undefined;
  let body: unknown;
  try {
    body = JSON.parse(data);
  } catch {
    return new Problem('internal', 'The hub sent something that is no frame.');
  }
  if (event === 'problem') return fromReply(503, body);
  const frame = body as Partial<MQTTFrame> | null;
  if (!Array.isArray(frame?.messages)) return new Problem('internal', 'The hub sent something that is no frame.');
  return { messages: frame.messages, received: frame.received ?? frame.messages.length, dropped: frame.dropped ?? 0 };
}

export class Tap {
  private tries = 0;
  private stopped = false;
  private problem: Problem | undefined;
  private request: AbortController | undefined;
  private wake: (() => void) | undefined;

  constructor(
    private readonly source: { filter: string; device: string },
    private readonly listener: TapListener,
    private readonly fetch: typeof globalThis.fetch = globalThis.fetch.bind(globalThis),
  ) {}

  /** Runs until stop, or until the hub refuses for a reason that a new try does not change. */
  async run(): Promise<void> {
    while (!this.stopped) {
      this.say('connecting');
      this.problem = await this.once();
      if (this.stopped) return;
      if (this.problem && final.has(this.problem.code)) return this.say('refused');
      await this.pause();
    }
  }

  /** Tries at once if it is waiting. */
  now(): void {
    this.tries = 0;
    this.wake?.();
  }

  stop(): void {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
  }

  /** Why the connection ended; undefined where it just ended. */
  private async once(): Promise<Problem | undefined> {
    const request = (this.request = new AbortController());
    try {
      const url = urlOf('/api/v1/mqtt/tap', { query: this.source });
      const reply = await this.fetch(url, { headers: { Accept: 'text/event-stream' }, signal: request.signal, cache: 'no-store' });
      if (!reply.ok) return fromReply(reply.status, await reply.json().catch(() => undefined));
      if (!reply.body) return new Problem('unreachable');
      return await this.read(reply.body, request);
    } catch (error) {
      return asProblem(error).code === 'unreachable' ? new Problem('unreachable') : undefined;
    }
  }

  private async read(body: ReadableStream<Uint8Array>, request: AbortController): Promise<Problem | undefined> {
    const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    const parser = new Parser();
    let problem: Problem | undefined;
    if (!this.source.device) this.live();
    for (;;) {
      const silence = setTimeout(() => request.abort(), SILENCE);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return problem;
      for (const message of parser.push(value)) problem = this.take(message, problem);
    }
  }

  private take(message: Message, before: Problem | undefined): Problem | undefined {
    const told = readEvent(message);
    if (told === undefined || this.stopped) return before;
    if (told instanceof Problem) {
      this.problem = told;
      this.say(final.has(told.code) ? 'refused' : 'down');
      return told;
    }
    this.live();
    this.listener.frame(told);
    return undefined;
  }

  private live(): void {
    this.tries = 0;
    if (this.problem === undefined && this.said === 'live') return;
    this.problem = undefined;
    this.say('live');
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

  private said: TapState['state'] | undefined;

  private say(state: TapState['state'], retryAt = 0): void {
    this.said = state;
    this.listener.state({ state, retryAt, problem: this.problem });
  }
}
