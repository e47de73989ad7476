// The MQTT console: what it has heard, and how it looks at it. It outlives its page, so that whoever comes back finds it
// as it was left.

import type { MQTTFrame, MQTTMessage } from '../api';
import { searchText } from '../mqtt/decode';
import { same, type Seen } from '../mqtt/message';
import { emptyDraft } from '../mqtt/publish';
import { Rate } from '../mqtt/rate';
import { History, Ring } from '../mqtt/ring';
import { search, type Search } from '../mqtt/search';
import { Tap, type TapState } from '../mqtt/tap';
import { isUnder } from '../mqtt/topics';
import { rowsOf, TopicTree, withAncestors, type Row, type TopicNode } from '../mqtt/tree';

/** Rows of the list. */
const ROWS = 500;
/** Between two paints, in ms: ten a second. */
const PAINT = 100;
/** A search through so many topics is not done at every paint. */
const MANY = 2000;

export interface Imported {
  name: string;
  count: number;
}

class Console {
  readonly tree = new TopicTree();
  readonly history = new History();
  private readonly ring = new Ring<Seen>(ROWS);
  private readonly rate = new Rate();
  private tap: Tap | undefined;
  private source = { device: '', filter: '' };
  private next = 1;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private paintedAt = 0;
  private matched = new WeakMap<Seen, boolean>();
  private searchedAt = 0;

  /** Counts paints: what reads the tree or the history reads this first. */
  painted = $state(0);
  link = $state.raw<TapState>({ state: 'connecting', retryAt: 0, problem: undefined });
  list = $state.raw<readonly Seen[]>([]);
  rows = $state.raw<readonly Row[]>([]);
  received = $state(0);
  dropped = $state(0);
  perSecond = $state(0);
  paused = $state(false);
  /** Messages since the pause. */
  waiting = $state(0);
  /** Messages came at all since this source is looked at. */
  any = $state(false);
  found = $state(0);
  imported = $state.raw<Imported>();
  search = $state.raw<Search>(search(''));
  /** The tree's selection: the list shows what is there and below. */
  topic = $state('');
  open = $state.raw<ReadonlySet<string>>(new Set());
  /** The message that somebody looks at; undefined follows the topic's last one. */
  chosen = $state.raw<Seen>();
  /** The row that the keyboard is on. */
  activeTopic = $state('');
  draft = $state(emptyDraft());
  /** The page's query when it was left. */
  query = '';
  scrolls = { topics: 0, messages: 0 };

  /** Listens to a source until the returned function is called. Another source than before begins anew. */
  follow(source: { device: string; filter: string }): () => void {
    if (source.device !== this.source.device || source.filter !== this.source.filter) this.clear();
    this.source = { ...source };
    if (this.imported) return () => {};
    const tap = (this.tap = new Tap(source, { frame: (frame) => this.take(frame), state: (state) => (this.link = state) }));
    void tap.run();
    const ticker = setInterval(() => this.paintSoon(), 1000);
    return () => {
      tap.stop();
      clearInterval(ticker);
    };
  }

  now(): void {
    this.tap?.now();
  }

  clear(): void {
    this.tree.clear();
    this.ring.clear();
    this.history.clear();
    this.received = this.dropped = this.waiting = 0;
    this.any = false;
    this.chosen = undefined;
    this.link = { state: 'connecting', retryAt: 0, problem: undefined };
    this.paint(true);
  }

  /** Shows messages of a file instead of live ones. */
  show(name: string, messages: MQTTMessage[]): void {
    this.tap?.stop();
    this.clear();
    this.paused = false;
    this.imported = { name, count: messages.length };
    for (const message of messages) this.keep(message);
    this.paint(true);
  }

  /** Back from a file; the page follows again. */
  leaveFile(): void {
    this.imported = undefined;
    this.clear();
  }

  pause(on: boolean): void {
    this.paused = on;
    this.waiting = 0;
    this.paint(true);
  }

  look(query: string): void {
    this.search = search(query);
    this.matched = new WeakMap();
    this.searchedAt = 0;
    this.paint(true);
  }

  select(topic: string): void {
    if (topic === this.topic) return;
    this.topic = topic;
    this.reveal(topic);
    this.paint(true);
  }

  setOpen(paths: Iterable<string>, open: boolean): void {
    const set = new Set(this.open);
    for (const path of paths) {
      if (open) set.add(path);
      else set.delete(path);
    }
    this.open = set;
    this.paint(true);
  }

  /** Opens what a topic is below. */
  reveal(topic: string): void {
    const levels = topic.split('/');
    const above = levels.slice(0, -1).map((_, i) => levels.slice(0, i + 1).join('/'));
    if (above.some((path) => !this.open.has(path))) this.open = new Set([...this.open, ...above]);
  }

  private take(frame: MQTTFrame): void {
    this.received += frame.received;
    this.dropped += frame.dropped;
    this.rate.add(frame.received, Date.now());
    for (const message of frame.messages) if (!same(this.tree.find(message.topic)?.last, message)) this.keep(message);
    this.any ||= frame.messages.length > 0;
    this.paintSoon();
  }

  private keep(message: MQTTMessage): void {
    const seen: Seen = { ...message, id: this.next++, ms: Date.parse(message.at) };
    this.tree.put(seen, Date.now());
    this.ring.push(seen);
    this.history.push(seen);
    if (this.paused) this.waiting++;
  }

  private paintSoon(): void {
    if (this.timer !== undefined || document.hidden) return;
    this.timer = setTimeout(() => requestAnimationFrame(() => this.paint()), Math.max(0, this.paintedAt + PAINT - performance.now()));
  }

  /** Makes the lists anew. While paused only what a person does changes them. */
  private paint(asked = false): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.paintedAt = performance.now();
    this.perSecond = this.rate.at(Date.now());
    if (this.paused && !asked) return;
    this.list = this.messages();
    if (this.search.kind === 'none') this.rows = rowsOf(this.tree, this.open);
    else if (this.tree.size < MANY || this.paintedAt - this.searchedAt > 1000) this.searchTopics();
    this.painted++;
  }

  private searchTopics(): void {
    this.searchedAt = this.paintedAt;
    const found: TopicNode[] = [];
    for (const node of this.tree.nodes()) if (node.last && this.fits(node.last)) found.push(node);
    this.found = found.length;
    this.rows = rowsOf(this.tree, this.open, withAncestors(found));
  }

  private messages(): Seen[] {
    if (this.topic === '' && this.search.kind === 'none') return this.ring.newest();
    return this.history.newest((message) => (this.topic === '' || isUnder(message.topic, this.topic)) && this.fits(message), ROWS);
  }

  private fits(message: Seen): boolean {
    let fits = this.matched.get(message);
    if (fits === undefined) {
      fits = this.search.test(message.topic, () => searchText(message));
      this.matched.set(message, fits);
    }
    return fits;
  }
}

export const mqtt = new Console();
