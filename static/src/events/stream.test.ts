import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EventStream, type HubMessage, type LinkState } from './stream';

/** A hub whose replies a test hands out one by one. */
class FakeHub {
  requests: { lastId: string | undefined; send: (text: string) => void; close: () => void }[] = [];
  status = 200;
  down = false;

  fetch = async (_: unknown, init?: RequestInit): Promise<Response> => {
    if (this.down) throw new TypeError('no route');
    let sink!: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (sink = controller) });
    init?.signal?.addEventListener('abort', () => sink.error(new Error('aborted')));
    const lastId = (init?.headers as Record<string, string>)['Last-Event-ID'];
    this.requests.push({ lastId, send: (text) => sink.enqueue(new TextEncoder().encode(text)), close: () => sink.close() });
    return new Response(body, { status: this.status });
  };
}

function setUp() {
  const hub = new FakeHub();
  const events: HubMessage[] = [];
  const links: LinkState[] = [];
  let gaps = 0;
  const listener = { event: (m: HubMessage) => void events.push(m), link: (s: LinkState) => void links.push(s), gap: () => void gaps++ };
  const stream = new EventStream(listener, hub.fetch as typeof fetch);
  return { hub, events, links, stream, gaps: () => gaps };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('EventStream', () => {
  test('delivers events with their number', async () => {
    const { hub, events, links, stream } = setUp();
    void stream.run();
    await vi.advanceTimersByTimeAsync(0);
    hub.requests[0]!.send('id: 5\nevent: device.online\ndata: {"id":5,"type":"device.online","device_id":"dev_1"}\n\n');
    await vi.advanceTimersByTimeAsync(0);
    expect(events).toEqual([{ id: 5, type: 'device.online', device_id: 'dev_1' }]);
    expect(links.at(-1)?.state).toBe('live');
    stream.stop();
  });

  test('resumes at its last event and has lists read again after a drop', async () => {
    const { hub, links, stream, gaps } = setUp();
    void stream.run();
    await vi.advanceTimersByTimeAsync(0);
    hub.requests[0]!.send('id: 9\ndata: {"type":"device.updated"}\n\n');
    await vi.advanceTimersByTimeAsync(0);
    hub.requests[0]!.close();
    await vi.advanceTimersByTimeAsync(0);
    expect(links.at(-1)?.state).toBe('down');
    await vi.advanceTimersByTimeAsync(1000);
    expect(hub.requests[1]!.lastId).toBe('9');
    expect(gaps()).toBe(1);
    expect(links.at(-1)).toEqual({ state: 'live', since: 0, retryAt: 0 });
    stream.stop();
  });

  test('resumes where the stream began when nothing had come', async () => {
    const { hub, events, stream } = setUp();
    void stream.run();
    await vi.advanceTimersByTimeAsync(0);
    hub.requests[0]!.send(': live\nid: 9\n\n: beat\n\nid: 10\nda');
    await vi.advanceTimersByTimeAsync(0);
    hub.requests[0]!.close();
    await vi.advanceTimersByTimeAsync(1000);
    expect(hub.requests[1]!.lastId).toBe('9');
    expect(events).toEqual([]);
    stream.stop();
  });

  test('leaves a connection that is silent for 40 s', async () => {
    const { hub, stream } = setUp();
    void stream.run();
    await vi.advanceTimersByTimeAsync(30_000);
    hub.requests[0]!.send(': ping\n\n');
    await vi.advanceTimersByTimeAsync(39_000);
    expect(hub.requests).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(hub.requests).toHaveLength(2);
    stream.stop();
  });

  test('keeps the time when it went down over many tries, and tries at once when asked', async () => {
    const { hub, links, stream } = setUp();
    hub.down = true;
    void stream.run();
    await vi.advanceTimersByTimeAsync(60_000);
    const since = links.at(-1)!.since;
    expect(since).toBeLessThan(Date.now() - 50_000);
    hub.down = false;
    stream.now();
    await vi.advanceTimersByTimeAsync(0);
    expect(links.at(-1)?.state).toBe('live');
    stream.stop();
  });

  test('ends when nobody is signed in', async () => {
    const { hub, links, stream } = setUp();
    hub.status = 401;
    await stream.run();
    expect(links.at(-1)?.state).toBe('refused');
  });

  test('takes an unreadable event as a gap', async () => {
    const { hub, stream, gaps } = setUp();
    void stream.run();
    await vi.advanceTimersByTimeAsync(0);
    hub.requests[0]!.send('id: 1\ndata: not json\n\n');
    await vi.advanceTimersByTimeAsync(0);
    expect(gaps()).toBe(1);
    stream.stop();
  });
});
