// What the console remembers of messages: the last ones of all topics for the list, and each topic's own past.

import type { Seen } from './message';

/** The last `capacity` items. */
export class Ring<T> {
  private items: T[] = [];
  private next = 0;

  constructor(readonly capacity: number) {}

  get size(): number {
    return this.items.length;
  }

  push(item: T): void {
    this.items[this.next] = item;
    this.next = (this.next + 1) % this.capacity;
  }

  /** Newest first. */
  newest(): T[] {
    return [...this.items.slice(this.next), ...this.items.slice(0, this.next)].reverse();
  }

  clear(): void {
    this.items = [];
    this.next = 0;
  }
}

/** What a message costs beside its text, in bytes: an estimate, so that many small ones count as well. */
const OVERHEAD = 160;

/** A topic's last messages, within a number for each topic and a size for all. What came first goes first. */
export class History {
  private readonly topics = new Map<string, Seen[]>();
  private queue: Seen[] = [];
  private head = 0;
  private readonly kept = new Set<Seen>();
  bytes = 0;

  constructor(
    private readonly each = 100,
    private readonly limit = 5 * 1024 * 1024,
  ) {}

  push(message: Seen): void {
    const list = this.topics.get(message.topic) ?? [];
    this.topics.set(message.topic, list);
    list.push(message);
    this.queue.push(message);
    this.kept.add(message);
    this.bytes += cost(message);
    if (list.length > this.each) this.forget(list.shift()!);
    while (this.bytes > this.limit && this.head < this.queue.length) this.evict(this.queue[this.head++]!);
    this.compact();
  }

  /** Oldest first. */
  of(topic: string): readonly Seen[] {
    return this.topics.get(topic) ?? [];
  }

  /** The newest ones that fit, newest first, at most so many. */
  newest(fits: (message: Seen) => boolean, most: number): Seen[] {
    const found: Seen[] = [];
    for (let i = this.queue.length - 1; i >= this.head && found.length < most; i--) {
      const message = this.queue[i]!;
      if (fits(message) && this.kept.has(message)) found.push(message);
    }
    return found;
  }

  /** Every message, in the order of arrival. */
  all(): Seen[] {
    return this.queue.slice(this.head).filter((message) => this.kept.has(message));
  }

  clear(): void {
    this.topics.clear();
    this.kept.clear();
    this.queue = [];
    this.head = this.bytes = 0;
  }

  /** The oldest of all is the oldest of its topic, unless that has let go of it already. */
  private evict(message: Seen): void {
    if (!this.kept.has(message)) return;
    const list = this.topics.get(message.topic)!;
    list.shift();
    if (list.length === 0) this.topics.delete(message.topic);
    this.forget(message);
  }

  private forget(message: Seen): void {
    this.kept.delete(message);
    this.bytes -= cost(message);
  }

  private compact(): void {
    if (this.queue.length < 1024 || this.queue.length < 2 * this.kept.size) return;
    this.queue = this.all();
    this.head = 0;
  }
}

function cost(message: Seen): number {
  return message.payload_base64.length + message.topic.length + OVERHEAD;
}
