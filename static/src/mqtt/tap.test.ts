import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { MQTTFrame } from '../api';
import { Problem } from '../problem';
import { readEvent, Tap, type TapState } from './tap';

const message = { topic: 'a', payload_base64: '', bytes: 0, qos: 0, retain: false, at: '2026-01-01T00:00:00Z' };

/** A hub whose replies a test hands out one by one. */
class FakeHub {
  urls: string[] = [];
  replies: { send: (text: string) => void; close: () => void; aborted: boolean }[] = [];
  status = 200;
  body = '';

  fetch = async (url: unknown, init?: RequestInit): Promise<Response> => {
    this.urls.push(String(url));
    if (this.status !== 200) return new Response(this.body, { status: this.status });
    let sink!: ReadableStreamDefaultController<Uint8Array>;
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (sink = controller) });
    const reply = { send: (text: string) => sink.enqueue(new TextEncoder().encode(text)), close: () => sink.close(), aborted: false };
    init?.signal?.addEventListener('abort', () => {
      reply.aborted = true;
      sink.error(new DOMException('aborted', 'AbortError'));
    });
    this.replies.push(reply);
    return new Response(stream);
  };
}

function setUp(device = '') {
  const hub = new FakeHub();
  const frames: MQTTFrame[] = [];
  const states: TapState[] = [];
  const tap = new Tap({ filter: 'home/#', device }, { frame: (frame) => void frames.push(frame), state: (state) => void states.push(state) }, hub.fetch as typeof fetch);
  return { hub, frames, states, tap };
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const frame = (body: object) => `event: frame\ndata: ${JSON.stringify(body)}\n\n`;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('readEvent', () => {
  test('a frame', () => expect(readEvent({ event: 'frame', data: '{"messages":[],"received":5,"dropped":2}' })).toEqual({ messages: [], received: 5, dropped: 2 }));
  test('a problem of the source', () => {
    const problem = readEvent({ event: 'problem', data: '{"code":"offline","detail":"kitchen is offline."}' }) as Problem;
    expect([problem.code, problem.message]).toEqual(['offline', 'kitchen is offline.']);
  });
  test.each(['no json', 'null', '{}', '{"messages":7}'])('%s is no frame', (data) => expect(readEvent({ event: 'frame', data })).toBeInstanceOf(Problem));
  test('what is not known yet is passed over', () => expect(readEvent({ event: 'hello', data: '{}' })).toBeUndefined());
});

describe('Tap', () => {
  test('hands over frames, however they are cut into pieces', async () => {
    const { hub, frames, states, tap } = setUp();
    void tap.run();
    await settle();
    expect(hub.urls).toEqual(['/api/v1/mqtt/tap?filter=home%2F%23']);
    const text = frame({ messages: [message], received: 3, dropped: 2 });
    hub.replies[0]!.send(text.slice(0, 30));
    await settle();
    expect(frames).toEqual([]);
    hub.replies[0]!.send(text.slice(30) + ': ping\n\n');
    await settle();
    expect(frames).toEqual([{ messages: [message], received: 3, dropped: 2 }]);
    expect(states.map((state) => state.state)).toEqual(['connecting', 'live']);
    tap.stop();
  });

  test('comes back after the connection ended, or was silent', async () => {
    const { hub, states, tap } = setUp();
    void tap.run();
    await settle();
    hub.replies[0]!.close();
    await settle();
    expect(states.at(-1)?.state).toBe('down');
    await vi.advanceTimersByTimeAsync(1000);
    expect(hub.replies).toHaveLength(2);
    expect(states.at(-1)?.state).toBe('live');
    await vi.advanceTimersByTimeAsync(41_000);
    expect(hub.replies[1]!.aborted).toBe(true);
    await vi.advanceTimersByTimeAsync(1000);
    expect(hub.replies).toHaveLength(3);
    tap.stop();
    expect(hub.replies[2]!.aborted).toBe(true);
  });

  test('ends where the hub forbids it, with the hub’s words', async () => {
    const { hub, states, tap } = setUp();
    hub.status = 403;
    hub.body = '{"code":"forbidden","detail":"You may not read home/#."}';
    await tap.run();
    expect(hub.urls).toHaveLength(1);
    expect([states.at(-1)?.state, states.at(-1)?.problem?.message]).toEqual(['refused', 'You may not read home/#.']);
  });

  test('tries again while the hub cannot be reached, at once when asked', async () => {
    const { hub, states, tap } = setUp();
    hub.status = 502;
    void tap.run();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(states.at(-1)?.problem?.code).toBe('unreachable');
    const tries = hub.urls.length;
    expect(tries).toBeGreaterThan(2);
    hub.status = 200;
    tap.now();
    await settle();
    expect(states.at(-1)).toEqual({ state: 'live', retryAt: 0, problem: undefined });
    tap.stop();
  });

  // The hub answers at once and then dials the device: the connection alone does not mean that the device is there.
  test('a device’s broker is live with its first frame, and its problem is told', async () => {
    const { hub, states, tap } = setUp('kitchen');
    void tap.run();
    await settle();
    expect(states.at(-1)?.state).toBe('connecting');
    hub.replies[0]!.send('event: problem\ndata: {"code":"offline","detail":"kitchen is offline."}\n\n');
    await settle();
    expect([states.at(-1)?.state, states.at(-1)?.problem?.code]).toEqual(['down', 'offline']);
    hub.replies[0]!.send(frame({ messages: [], received: 0, dropped: 0 }));
    await settle();
    expect([states.at(-1)?.state, states.at(-1)?.problem]).toEqual(['live', undefined]);
    tap.stop();
  });
});
