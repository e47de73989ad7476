import { describe, expect, test } from 'vitest';
import { SharedEvents, type Platform } from './share';
import type { HubMessage, LinkState, Listener } from './stream';

/** A browser with one lock and one channel; tabs open and close in it. */
class Browser {
  private waiting: (() => void)[] = [];
  private held = false;
  private ends = new Set<{ onmessage: ((event: MessageEvent) => void) | null }>();
  streams: (Listener & { stopped: boolean; asked: number })[] = [];

  platform(): Platform {
    return {
      locks: { request: (async (_: string, __: object, run: () => Promise<void>) => this.lock(run)) as LockManager['request'] },
      channel: () => {
        const end = {
          onmessage: null as ((event: MessageEvent) => void) | null,
          postMessage: (data: unknown) => this.ends.forEach((other) => other !== end && other.onmessage?.({ data } as MessageEvent)),
          close: () => void this.ends.delete(end),
        };
        this.ends.add(end);
        return end;
      },
      stream: (listener) => this.open(listener),
    };
  }

  private async lock(run: () => Promise<void>): Promise<void> {
    if (this.held) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.held = true;
    await run();
    this.held = false;
    this.waiting.shift()?.();
  }

  private open(listener: Listener) {
    let end: () => void;
    const done = new Promise<void>((resolve) => (end = resolve));
    const stream = { ...listener, stopped: false, asked: 0 };
    this.streams.push(stream);
    return {
      run: () => done,
      now: () => void stream.asked++,
      renew: () => {},
      stop: () => {
        stream.stopped = true;
        end();
      },
    };
  }

  tab() {
    const heard: HubMessage[] = [];
    const links: LinkState[] = [];
    const counts = { gaps: 0 };
    const shared = new SharedEvents(
      { event: (m) => void heard.push(m), link: (s) => void links.push(s), gap: () => void counts.gaps++ },
      this.platform(),
    );
    shared.start();
    return { shared, heard, links, counts };
  }
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
declare function setImmediate(run: () => void): void;

describe('SharedEvents', () => {
  test('has one stream for three tabs, and all hear it', async () => {
    const browser = new Browser();
    const tabs = [browser.tab(), browser.tab(), browser.tab()];
    await settle();
    expect(browser.streams).toHaveLength(1);
    browser.streams[0]!.event({ id: 1, type: 'device.online' });
    for (const tab of tabs) expect(tab.heard).toEqual([{ id: 1, type: 'device.online' }]);
  });

  test('tells a tab that comes later how the connection is', async () => {
    const browser = new Browser();
    browser.tab();
    await settle();
    browser.streams[0]!.link({ state: 'live', since: 0, retryAt: 0 });
    expect(browser.tab().links.at(-1)?.state).toBe('live');
  });

  test('has another tab take over when the leader closes, and read its lists again', async () => {
    const browser = new Browser();
    const first = browser.tab();
    const second = browser.tab();
    await settle();
    browser.streams[0]!.link({ state: 'live', since: 0, retryAt: 0 });
    expect([first.counts.gaps, second.counts.gaps]).toEqual([0, 0]);
    first.shared.stop();
    await settle();
    expect(browser.streams).toHaveLength(2);
    expect(second.counts.gaps).toBe(1);
    browser.streams[1]!.event({ id: 2, type: 'x' });
    expect(second.heard).toHaveLength(1);
    expect(first.heard).toHaveLength(0);
  });

  test('passes "try now" on to the leader', async () => {
    const browser = new Browser();
    browser.tab();
    const second = browser.tab();
    await settle();
    second.shared.now();
    expect(browser.streams[0]!.asked).toBe(1);
  });

  test('works alone where the browser has no locks', () => {
    const browser = new Browser();
    const shared = new SharedEvents({ event() {}, link() {}, gap() {} }, { ...browser.platform(), locks: undefined });
    shared.start();
    expect(browser.streams).toHaveLength(1);
  });
});
