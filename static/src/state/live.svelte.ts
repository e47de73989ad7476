// The one connection for events, as state, and who wants to hear of what.

import type { SharedEvents } from '../events/share';
import type { HubMessage, LinkState } from '../events/stream';
import { Batch } from './devices';
import { fleet } from './fleet.svelte';
import { session } from './session.svelte';
import { shells } from './shells.svelte';

type Ear = (message: HubMessage) => void;

class Live {
  link = $state.raw<LinkState>({ state: 'connecting', since: 0, retryAt: 0 });
  private ears = new Set<Ear>();
  /** Lists to read anew; a burst of events, as after a long absence, is one reading. */
  private readonly views = new Batch((names) => {
    if (names.includes('devices')) void fleet.load();
    if (names.includes('shells')) void shells.load();
  });
  private shared: SharedEvents | undefined;
  private lastTick = Date.now();
  private started = false;

  /** Loaded after the first paint: a page shows what is there before it follows what changes. */
  async start(): Promise<void> {
    if (this.started) return;
    this.started = true;
    const { SharedEvents } = await import('../events/share');
    this.shared = new SharedEvents({
      event: (message) => this.hear(message),
      link: (state) => this.follow(state),
      gap: () => this.readAgain(),
    });
    this.shared.start();
    setInterval(() => this.watchSleep(), 5_000);
    window.addEventListener('online', () => this.shared?.renew());
  }

  now(): void {
    this.shared?.now();
  }

  /** Calls ear for every event until the returned function is called. */
  listen(ear: Ear): () => void {
    this.ears.add(ear);
    return () => void this.ears.delete(ear);
  }

  private hear(message: HubMessage): void {
    if (message.type.startsWith('device.') && message.device_id) {
      if (message.type === 'device.removed') fleet.drop(message.device_id);
      else fleet.touch(message.device_id);
    }
    if (message.type.startsWith('grant.')) this.views.add('devices');
    if (message.type.startsWith('shell.')) this.views.add('shells');
    for (const ear of this.ears) ear(message);
  }

  private follow(state: LinkState): void {
    this.link = state;
    if (state.state === 'refused' && session.me) void session.leave();
  }

  private readAgain(): void {
    void fleet.load();
    void shells.load();
    for (const ear of this.ears) ear({ id: 0, type: 'gap' });
  }

  /** A timer that fires late means that the machine slept: the socket may be dead and nobody was told. */
  private watchSleep(): void {
    const now = Date.now();
    if (now - this.lastTick > 20_000 && !document.hidden) this.shared?.renew();
    this.lastTick = now;
  }
}

export const live = new Live();
