import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { attachURL, Connection, HELD_MAX, type Link, type Socket } from './connection';
import { ack, resize, type Status } from './protocol';

const text = (data: Uint8Array) => new TextDecoder().decode(data);
const bytes = (data: string) => new TextEncoder().encode(data);

/** The hub's side of one attachment. */
class Peer implements Socket {
  binaryType: BinaryType = 'blob';
  protocol = 'adit.shell.v1';
  onopen = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  sent: Uint8Array[] = [];
  closed = false;

  constructor(readonly url: string) {}

  send(data: unknown): void {
    this.sent.push(data as Uint8Array);
  }
  close(): void {
    this.closed = true;
  }
  die(code = 1006): void {
    this.onclose?.({ code, reason: '' } as CloseEvent);
  }
  status(status: Partial<Status> = {}): void {
    const full = { state: 'open', oldest: 0, next: 0, cols: 80, rows: 24, outlives_hub: true, ...status };
    this.deliver(new Uint8Array([1, ...bytes(JSON.stringify(full))]));
  }
  output(first: number, data: Uint8Array): void {
    const message = new Uint8Array(9 + data.length);
    new DataView(message.buffer).setBigUint64(1, BigInt(first));
    message.set(data, 9);
    this.deliver(message);
  }
  get from(): string | null {
    return new URL(this.url).searchParams.get('from');
  }
  typed(): string {
    return this.sent.filter((m) => m[0] === 0).map((m) => text(m.subarray(1))).join('');
  }
  private deliver(message: Uint8Array<ArrayBuffer>): void {
    this.onmessage?.({ data: message.buffer } as MessageEvent);
  }
}

function setUp(slow = false, fresh = false) {
  const peers: Peer[] = [];
  const links: Link[] = [];
  const held: [string, boolean][] = [];
  const pending: (() => void)[] = [];
  const seen = { text: '', old: '', missed: 0, states: [] as string[] };
  const connection = new Connection(
    'ws://hub/attach',
    {
      output: (data, old, done) => {
        seen.text += text(data);
        if (old) seen.old += text(data);
        if (slow) pending.push(done);
        else done();
      },
      missed: (count) => void (seen.missed += count),
      status: (status) => void seen.states.push(status.state),
      link: (link) => void links.push(link),
      held: (keys, asks) => void held.push([keys, asks]),
    },
    fresh,
    (url) => {
      const peer = new Peer(url);
      peers.push(peer);
      return peer;
    },
  );
  return { connection, peers, links, held, pending, seen, peer: () => peers.at(-1)!, link: () => links.at(-1)! };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('Connection', () => {
  test('shows output and keys pass', () => {
    const { connection, peer, seen, link } = setUp();
    expect(link().state).toBe('connecting');
    peer().status();
    expect(link().state).toBe('open');
    peer().output(0, bytes('hello'));
    connection.type(bytes('ls\r'));
    expect(seen.text).toBe('hello');
    expect(peer().typed()).toBe('ls\r');
    connection.stop();
  });

  test('resumes at its byte: nothing lost, nothing twice, cut anywhere', async () => {
    const all = Array.from({ length: 400 }, (_, i) => `${i}\r\n`).join('');
    const data = bytes(all);
    const { connection, peers, seen } = setUp();
    let random = 7;
    while (seen.text.length < all.length) {
      const peer = peers.at(-1)!;
      peer.status();
      const from = Math.max(0, Number(peer.from) - (peers.length % 3 === 0 ? 5 : 0)); // a hub may begin too early
      random = (random * 48271) % 2147483647;
      peer.output(from, data.subarray(from, from + 1 + (random % 97)));
      peer.die();
      await vi.advanceTimersByTimeAsync(11_000);
    }
    expect(seen.text).toBe(all);
    expect(seen.missed).toBe(0);
    connection.stop();
  });

  test('says what is gone for good when the ring has moved on', async () => {
    const { connection, peers, peer, seen } = setUp();
    peer().status();
    peer().output(0, bytes('abc'));
    peer().die();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(peers).toHaveLength(2);
    expect(peer().from).toBe('3');
    peer().status();
    peer().output(10, bytes('xyz'));
    expect([seen.text, seen.missed]).toEqual(['abcxyz', 7]);
    connection.stop();
  });

  test('begins where the hub says on a first attach, without calling older bytes missed', () => {
    const { connection, peer, seen } = setUp();
    peer().status({ oldest: 1000 });
    peer().output(1000, bytes('tail'));
    expect([seen.text, seen.missed]).toEqual(['tail', 0]);
    connection.stop();
  });

  test('marks what was sent before this page attached, so that it is not answered again', async () => {
    const { connection, peer, seen } = setUp();
    peer().status({ next: 5 });
    peer().output(0, bytes('12345678'));
    peer().die();
    await vi.advanceTimersByTimeAsync(1_000);
    peer().status({ next: 99 });
    peer().output(8, bytes('9'));
    expect([seen.text, seen.old]).toEqual(['123456789', '12345']);
    connection.stop();
  });

  test('shows a shell that it has just opened from its first byte, as new', () => {
    const { connection, peer, seen } = setUp(false, true);
    expect(peer().from).toBe('0');
    peer().status({ next: 3 });
    peer().output(0, bytes('abc'));
    expect([seen.text, seen.old]).toEqual(['abc', '']);
    connection.stop();
  });

  test('acknowledges what is on the screen, each 64 KiB and when it is all', () => {
    const { connection, peer, pending } = setUp(true);
    peer().status();
    for (let i = 0; i < 5; i++) peer().output(i * 32768, new Uint8Array(32768));
    expect(peer().sent).toEqual([]);
    pending.splice(0, 2).forEach((done) => done());
    expect(peer().sent).toEqual([ack(65536)]);
    pending.splice(0).forEach((done) => done());
    expect(peer().sent).toEqual([ack(65536), ack(131072), ack(163840)]);
    connection.stop();
  });

  test('an acknowledgement of an old socket reaches the new one only as the place to resume', async () => {
    const { connection, peer, pending } = setUp(true);
    peer().status();
    peer().output(0, new Uint8Array(100));
    peer().die();
    await vi.advanceTimersByTimeAsync(1_000);
    pending.splice(0).forEach((done) => done());
    expect(peer().from).toBe('100');
    expect(peer().sent).toEqual([]);
    peer().status();
    connection.stop();
  });

  test('tells its size on every attach, and only when it changes', async () => {
    const { connection, peer } = setUp();
    connection.resize(100, 30);
    peer().status();
    connection.resize(100, 30);
    expect(peer().sent).toEqual([resize(100, 30)]);
    peer().die();
    await vi.advanceTimersByTimeAsync(1_000);
    peer().status();
    expect(peer().sent).toEqual([resize(100, 30)]);
    connection.stop();
  });

  test('sends keys of a short gap by itself', async () => {
    const { connection, peer, held } = setUp();
    peer().status();
    peer().die();
    expect(connection.type(bytes('pw'))).toBe(true);
    expect(connection.type(bytes('d\r'))).toBe(true);
    expect(held.at(-1)).toEqual(['pwd\r', false]);
    await vi.advanceTimersByTimeAsync(1_000);
    peer().status();
    expect(peer().typed()).toBe('pwd\r');
    expect(held.at(-1)).toEqual(['', false]);
    connection.stop();
  });

  test.each([[true, 'rm x\r'], [false, '']])('asks about keys of a long gap; %s sends %j', async (send, want) => {
    const { connection, peers, peer, held } = setUp();
    peer().status();
    peer().die();
    connection.type(bytes('rm x\r'));
    while (Date.now() && peers.length < 8) {
      await vi.advanceTimersByTimeAsync(10_000);
      if (peers.length < 8) peer().die();
    }
    peer().status();
    expect(peer().typed()).toBe('');
    expect(held.at(-1)).toEqual(['rm x\r', true]);
    connection.decide(send);
    expect(peer().typed()).toBe(want);
    connection.type(bytes('y'));
    expect(peer().typed()).toBe(want + 'y');
    connection.stop();
  });

  test('holds no more than 256 bytes', () => {
    const { connection, peer } = setUp();
    peer().status();
    peer().die();
    expect(connection.type(new Uint8Array(HELD_MAX - 1))).toBe(true);
    expect(connection.type(bytes('ab'))).toBe(false);
    expect(connection.type(bytes('a'))).toBe(true);
    connection.stop();
  });

  test('attaches anew after sleep, without waiting for the old socket to notice', async () => {
    const { connection, peers, peer } = setUp();
    peer().status();
    peer().output(0, bytes('abc'));
    vi.setSystemTime(Date.now() + 3_600_000);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(peers[0]!.closed).toBe(true);
    expect(peers).toHaveLength(2);
    expect(peer().from).toBe('3');
    connection.stop();
  });

  test('leaves a socket that takes keys and answers nothing', async () => {
    const { connection, peers, peer } = setUp();
    peer().status();
    connection.type(bytes('x'));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(peers).toHaveLength(2);
    peer().status();
    connection.type(bytes('y'));
    peer().output(0, bytes('y'));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(peers).toHaveLength(2);
    connection.stop();
  });

  test('leaves an attach that never says its status', async () => {
    const { connection, peers } = setUp();
    await vi.advanceTimersByTimeAsync(12_000);
    expect(peers.length).toBeGreaterThan(1);
    connection.stop();
  });

  test.each([4404, 4403, 4401, 1008])('does not come back after close %i', async (code) => {
    const { connection, peers, peer, link } = setUp();
    peer().status();
    peer().die(code);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(peers).toHaveLength(1);
    expect(link()).toMatchObject({ state: 'over', close: code });
    connection.reconnect();
    expect(peers).toHaveLength(1);
  });

  test.each([1012, 1006, 1011, 1013, 4503])('comes back after close %i', async (code) => {
    const { connection, peers, peer, link } = setUp();
    peer().status();
    peer().die(code);
    expect(link()).toMatchObject({ state: 'lost', since: Date.now() });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(peers).toHaveLength(2);
    connection.stop();
  });

  test('is over once the shell has ended, however the socket goes', async () => {
    const { peers, peer, seen, link } = setUp();
    peer().status();
    peer().status({ state: 'ended', exit_status: 0 });
    peer().die(1006);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(seen.states).toEqual(['open', 'ended']);
    expect(link().state).toBe('over');
    expect(peers).toHaveLength(1);
  });

  test('counts the time since the first drop, over many tries', async () => {
    const { connection, peer, link } = setUp();
    peer().status();
    const since = Date.now();
    peer().die();
    for (let i = 0; i < 6; i++) {
      await vi.advanceTimersByTimeAsync(10_000);
      peer().die();
    }
    expect(link().since).toBe(since);
    connection.stop();
  });
});

test('attachURL', () => expect(attachURL('shl_1', 'https://hub.example')).toBe('wss://hub.example/api/v1/shells/shl_1/attach'));
