// A browser's connection to a shell on the hub. The shell outlives every socket: after a drop it attaches again at the
// byte that it has not seen, so nothing is lost and nothing comes twice. Keys typed while it is down wait, a few of
// them and for a moment only; after a longer gap a person decides, as the screen may have changed under their fingers.

import { backoff } from '../backoff';
import { ack, ACK_EVERY, input, parse, resize, SUBPROTOCOL, type Status } from './protocol';

/** Keys kept while down, in bytes. */
export const HELD_MAX = 256;
/** A longer gap than this (ms) asks before held keys are sent. */
export const HELD_FOR = 5_000;
/** How often the watchdog looks, and the lateness (ms) that means the machine slept. */
const TICK = 5_000;
const SLEPT = 10_000;
/** An attach that has no status by then (ms) is given up, as is a socket that answers no key for so long. */
const PATIENCE = 10_000;

export interface Link {
  state: 'connecting' | 'open' | 'lost' | 'over';
  /** When it was lost, ms since the epoch; 0 unless lost. */
  since: number;
  /** When the next try begins; 0 while one is under way. */
  retryAt: number;
  /** Why it is over, a WebSocket close code: 1000 after the shell ended, 44xx as in the error table. */
  close: number;
  reason: string;
}

export interface Sink {
  /**
   * Bytes of the terminal in order; calls done when they are on the screen. `old` ones were sent before this page first
   * attached: what they ask of a terminal was answered then, and must not be answered again.
   */
  output(data: Uint8Array, old: boolean, done: () => void): void;
  /** Bytes are gone for good: the hub holds no older ones. The screen must be cleared. */
  missed(bytes: number): void;
  status(status: Status): void;
  link(link: Link): void;
  /** Keys that wait while down, and whether a person must say if they are still meant. */
  held(text: string, asks: boolean): void;
}

export type Socket = Pick<WebSocket, 'send' | 'close' | 'binaryType' | 'protocol'> & {
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
};

export type Dial = (url: string, subprotocol: string) => Socket;

/** Closes after which attaching again would change nothing. */
const FINAL = new Set([1000, 1008, 4401, 4403, 4404]);

export class Connection {
  /** The number of the next output byte wanted, and how far the screen and the acknowledgement have come. */
  private next = 0;
  /** Bytes before this number were sent before this page attached. */
  private oldUntil = 0;
  private shown = 0;
  private acked = 0;
  private size: { cols: number; rows: number } | undefined;
  private heldKeys: Uint8Array[] = [];
  private asking = false;

  private socket: Socket | undefined;
  private attached = false;
  private known = false;
  private tries = 0;
  private lostAt = 0;
  private ended = false;
  private stopped = false;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private waiting: ReturnType<typeof setTimeout> | undefined;
  private unanswered: ReturnType<typeof setTimeout> | undefined;
  private readonly watchdog: ReturnType<typeof setInterval>;
  private ticked = Date.now();

  constructor(
    private readonly url: string,
    private readonly sink: Sink,
    /** A shell that this page has just opened: it is shown from its first byte on. */
    fresh = false,
    private readonly dial: Dial = (to, subprotocol) => new WebSocket(to, subprotocol),
  ) {
    this.known = fresh;
    this.watchdog = setInterval(() => this.tick(), TICK);
    this.attach();
  }

  /** Sends what was typed or pasted. While down the first bytes wait and false tells that the rest was dropped. */
  type(data: Uint8Array): boolean {
    if (this.attached && !this.asking) {
      this.send(data);
      return true;
    }
    return this.hold(data);
  }

  resize(cols: number, rows: number): void {
    if (this.size?.cols === cols && this.size.rows === rows) return;
    this.size = { cols, rows };
    if (this.attached) this.socket?.send(resize(cols, rows));
  }

  /** What a person says about keys that waited through a long gap. */
  decide(send: boolean): void {
    this.asking = false;
    const keys = this.heldKeys.splice(0);
    this.tellHeld();
    if (send && this.attached) keys.forEach((data) => this.send(data));
  }

  /** Attaches anew at once: on a person's wish, or when the socket may have died unnoticed. */
  reconnect(): void {
    if (this.stopped || this.ended) return;
    this.tries = 0;
    this.drop();
    this.attach();
  }

  /** Tries at once if it is waiting to. */
  now(): void {
    if (!this.attached && this.retry !== undefined) this.reconnect();
  }

  stop(): void {
    this.stopped = true;
    clearInterval(this.watchdog);
    this.drop();
  }

  private attach(): void {
    this.say({ state: this.lostAt ? 'lost' : 'connecting' });
    const from = this.known ? `?from=${this.next}` : '';
    const socket = (this.socket = this.dial(this.url + from, SUBPROTOCOL));
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (event) => socket === this.socket && this.take(event.data as ArrayBuffer);
    socket.onclose = (event) => socket === this.socket && this.lose(event.code, event.reason);
    this.waiting = setTimeout(() => this.lose(0, ''), PATIENCE);
  }

  /** Lets go of the socket without waiting for its close, which a dead network would delay for minutes. */
  private drop(): void {
    for (const timer of [this.retry, this.waiting, this.unanswered]) clearTimeout(timer);
    this.retry = this.waiting = this.unanswered = undefined;
    const socket = this.socket;
    this.socket = undefined;
    this.attached = false;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private lose(code: number, reason: string): void {
    this.drop();
    if (this.ended || FINAL.has(code)) {
      this.stop();
      return this.say({ state: 'over', close: code, reason });
    }
    this.lostAt ||= Date.now();
    const wait = backoff(this.tries++, 10_000);
    this.retry = setTimeout(() => this.attach(), wait);
    this.say({ state: 'lost', retryAt: Date.now() + wait });
  }

  private take(data: ArrayBuffer): void {
    clearTimeout(this.unanswered);
    this.unanswered = undefined;
    const message = parse(data);
    if (message.kind === 'status') this.heed(message.status);
    else if (message.kind === 'output') this.show(message.first, message.data);
  }

  private heed(status: Status): void {
    if (!this.known) this.oldUntil = status.next;
    if (!this.attached) this.welcome();
    if (status.state === 'ended') this.ended = true;
    this.sink.status(status);
  }

  /** The first message after attaching: the socket works and the shell is there. */
  private welcome(): void {
    clearTimeout(this.waiting);
    const gap = this.lostAt ? Date.now() - this.lostAt : 0;
    this.attached = true;
    this.tries = 0;
    this.lostAt = 0;
    this.acked = this.shown;
    if (this.size) this.socket?.send(resize(this.size.cols, this.size.rows));
    this.say({ state: 'open' });
    if (this.heldKeys.length === 0) return;
    if (gap <= HELD_FOR) return this.decide(true);
    this.asking = true;
    this.tellHeld();
  }

  private show(first: number, data: Uint8Array): void {
    if (this.known && first > this.next) this.sink.missed(first - this.next);
    if (!this.known || first > this.next) this.next = this.shown = this.acked = first;
    this.known = true;
    const fresh = data.subarray(this.next - first);
    if (fresh.length === 0) return;
    const old = Math.max(0, Math.min(fresh.length, this.oldUntil - this.next));
    this.pass(fresh.subarray(0, old), true);
    this.pass(fresh.subarray(old), false);
  }

  private pass(data: Uint8Array, old: boolean): void {
    if (data.length === 0) return;
    const end = (this.next += data.length);
    this.sink.output(data, old, () => this.acknowledge(end));
  }

  private acknowledge(end: number): void {
    this.shown = Math.max(this.shown, end);
    if (!this.attached || (this.shown - this.acked < ACK_EVERY && this.shown < this.next)) return;
    if (this.shown === this.acked) return;
    this.acked = this.shown;
    this.socket?.send(ack(this.shown));
  }

  private send(data: Uint8Array): void {
    for (const message of input(data)) this.socket?.send(message);
    // A half-open socket takes keys and answers nothing. Attaching anew costs little and resumes at the byte.
    this.unanswered ??= setTimeout(() => this.reconnect(), PATIENCE);
  }

  private hold(data: Uint8Array): boolean {
    if (this.ended || this.stopped) return false;
    const used = this.heldKeys.reduce((sum, keys) => sum + keys.length, 0);
    if (used + data.length > HELD_MAX) return false;
    this.heldKeys.push(data);
    this.tellHeld();
    return true;
  }

  private tellHeld(): void {
    const decoder = new TextDecoder();
    this.sink.held(this.heldKeys.map((keys) => decoder.decode(keys)).join(''), this.asking);
  }

  /** A timer that fires late means that the machine slept, and the socket has probably not survived it. */
  private tick(): void {
    const now = Date.now();
    const late = now - this.ticked;
    this.ticked = now;
    if (late <= SLEPT) return;
    if (this.attached) this.lostAt = now - late;
    this.reconnect();
  }

  private say(link: Partial<Link>): void {
    this.sink.link({ state: 'connecting', since: this.lostAt, retryAt: 0, close: 0, reason: '', ...link });
  }
}

/** Where a shell is attached to. */
export function attachURL(shell: string, origin: string = window.location.origin): string {
  return `${origin.replace(/^http/, 'ws')}/api/v1/shells/${encodeURIComponent(shell)}/attach`;
}
