// One event stream for all tabs of a browser: a Web Lock elects the tab that holds it, a BroadcastChannel carries what
// it hears to the others. HTTP/1.1 gives a host six connections, so a stream in every tab would starve the seventh.

import { EventStream, type HubMessage, type LinkState, type Listener } from './stream';

type Note =
  | { kind: 'event'; message: HubMessage }
  | { kind: 'link'; state: LinkState }
  | { kind: 'gap' }
  | { kind: 'hello' }
  | { kind: 'now' };

const NAME = 'adit-events';

/** Where Web Locks or BroadcastChannel are missing each tab has its own stream. */
export interface Platform {
  locks: Pick<LockManager, 'request'> | undefined;
  channel: () => Pick<BroadcastChannel, 'postMessage' | 'close' | 'onmessage'> | undefined;
  stream: (listener: Listener) => Pick<EventStream, 'run' | 'now' | 'renew' | 'stop'>;
}

export function browserPlatform(): Platform {
  return {
    locks: globalThis.navigator?.locks,
    channel: () => (typeof BroadcastChannel === 'undefined' ? undefined : new BroadcastChannel(NAME)),
    stream: (listener) => new EventStream(listener),
  };
}

export class SharedEvents {
  private stream: ReturnType<Platform['stream']> | undefined;
  private channel: ReturnType<Platform['channel']>;
  private state: LinkState = { state: 'connecting', since: 0, retryAt: 0 };
  private followed = false;
  private readonly closing = new AbortController();

  constructor(
    private readonly listener: Listener,
    private readonly platform: Platform = browserPlatform(),
  ) {}

  start(): void {
    this.channel = this.platform.locks && this.platform.channel();
    if (!this.channel || !this.platform.locks) return void this.lead();
    this.channel.onmessage = (event: MessageEvent<Note>) => this.hear(event.data);
    this.channel.postMessage({ kind: 'hello' } satisfies Note);
    // The lock is ours until the tab ends, then another tab's request is granted and it leads.
    void this.platform.locks.request(NAME, { signal: this.closing.signal }, () => this.lead()).catch(() => {});
  }

  stop(): void {
    this.closing.abort();
    this.stream?.stop();
    this.channel?.close();
  }

  /** Tries at once, wherever the stream lives. */
  now(): void {
    if (this.stream) this.stream.now();
    else this.tell({ kind: 'now' });
  }

  /** After sleep: the connection may be dead without anybody having been told. */
  renew(): void {
    this.stream?.renew();
  }

  private lead(): Promise<void> {
    if (this.closing.signal.aborted) return Promise.resolve();
    // The former leader may have died with events that it had not passed on.
    if (this.followed) this.listener.gap();
    this.stream = this.platform.stream({
      event: (message) => this.pass({ kind: 'event', message }),
      link: (state) => this.pass({ kind: 'link', state }),
      gap: () => this.pass({ kind: 'gap' }),
    });
    return this.stream.run();
  }

  private pass(note: Note): void {
    this.tell(note);
    this.take(note);
  }

  private tell(note: Note): void {
    this.channel?.postMessage(note);
  }

  private hear(note: Note): void {
    if (note.kind === 'hello') {
      if (this.stream) this.tell({ kind: 'link', state: this.state });
    } else if (note.kind === 'now') {
      this.stream?.now();
    } else if (!this.stream) {
      this.followed = true;
      this.take(note);
    }
  }

  private take(note: Note): void {
    if (note.kind === 'event') this.listener.event(note.message);
    else if (note.kind === 'gap') this.listener.gap();
    else if (note.kind === 'link') this.listener.link((this.state = note.state));
  }
}
