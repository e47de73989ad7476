// The topics that were seen, as a tree. It holds the last message of each topic, within a number of topics: what was
// silent longest goes first.

import { type Seen } from './message';

/** Deeper levels stay together as one name: a topic may have 32,767 of them. */
export const DEPTH = 32;
const TOPICS = 20_000;

export class TopicNode {
  readonly children = new Map<string, TopicNode>();
  /** The last message of the topic that this is; undefined where it is only a level. */
  last: Seen | undefined;
  /** Messages seen here and below. */
  count = 0;
  /** Topics here and below. */
  topics = 0;
  /** When something last came here or below, in ms of the page's clock. */
  touched = 0;
  private order: TopicNode[] | undefined;

  constructor(
    readonly name: string,
    readonly path: string,
    readonly parent: TopicNode | undefined,
    readonly depth: number,
  ) {}

  /** By name, numbers in their order. */
  sorted(): readonly TopicNode[] {
    return (this.order ??= [...this.children.values()].sort((a, b) => collator.compare(a.name, b.name)));
  }

  changed(): void {
    this.order = undefined;
  }
}

const collator = new Intl.Collator(undefined, { numeric: true });

export interface Row {
  node: TopicNode;
  open: boolean;
  /** Its place among its siblings, from 1, and how many they are. */
  position: number;
  siblings: number;
}

export class TopicTree {
  root = new TopicNode('', '', undefined, 0);
  /** Changes when rows come or go. */
  shape = 0;
  /** Topics that had to go for others. */
  left = 0;
  private leaves = new Map<string, TopicNode>();

  constructor(private readonly limit = TOPICS) {}

  get size(): number {
    return this.leaves.size;
  }

  find(topic: string): TopicNode | undefined {
    return this.leaves.get(topic) ?? this.level(topic);
  }

  /** Takes a message as its topic's last one. */
  put(message: Seen, now: number): void {
    const node = this.leaf(message.topic);
    node.last = message;
    for (let up: TopicNode | undefined = node; up; up = up.parent) {
      up.count++;
      up.touched = now;
    }
    // A map keeps the order of insertion: the front is what was silent longest.
    this.leaves.delete(message.topic);
    this.leaves.set(message.topic, node);
    if (this.leaves.size > this.limit) this.evict();
  }

  clear(): void {
    this.root = new TopicNode('', '', undefined, 0);
    this.leaves = new Map();
    this.left = 0;
    this.shape++;
  }

  /** Each topic that was seen. */
  nodes(): Iterable<TopicNode> {
    return this.leaves.values();
  }

  private leaf(topic: string): TopicNode {
    const known = this.leaves.get(topic);
    if (known) return known;
    let node = this.root;
    for (const name of levels(topic)) node = node.children.get(name) ?? this.grow(node, name);
    for (let up: TopicNode | undefined = node; up; up = up.parent) up.topics++;
    this.leaves.set(topic, node);
    this.shape++;
    return node;
  }

  private grow(parent: TopicNode, name: string): TopicNode {
    const node = new TopicNode(name, parent.depth === 0 ? name : `${parent.path}/${name}`, parent, parent.depth + 1);
    parent.children.set(name, node);
    parent.changed();
    return node;
  }

  private level(path: string): TopicNode | undefined {
    let node: TopicNode | undefined = this.root;
    for (const name of levels(path)) node = node?.children.get(name);
    return node;
  }

  private evict(): void {
    const [topic, node] = this.leaves.entries().next().value!;
    this.leaves.delete(topic);
    this.left++;
    this.shape++;
    node.last = undefined;
    for (let up: TopicNode | undefined = node; up; up = up.parent) {
      up.topics--;
      if (up.topics > 0 || !up.parent) continue;
      up.parent.children.delete(up.name);
      up.parent.changed();
    }
  }
}

function levels(topic: string): string[] {
  const names = topic.split('/');
  return names.length > DEPTH ? [...names.slice(0, DEPTH - 1), names.slice(DEPTH - 1).join('/')] : names;
}

/**
 * The rows that are seen: what is below open nodes. With `wanted` only what leads to those topics, and open.
 */
export function rowsOf(tree: TopicTree, open: ReadonlySet<string>, wanted?: ReadonlySet<TopicNode>): Row[] {
  const rows: Row[] = [];
  const visit = (parent: TopicNode) => {
    const shown = wanted ? parent.sorted().filter((node) => wanted.has(node)) : parent.sorted();
    shown.forEach((node, i) => {
      const isOpen = node.children.size > 0 && (wanted ? [...node.children.values()].some((child) => wanted.has(child)) : open.has(node.path));
      rows.push({ node, open: isOpen, position: i + 1, siblings: shown.length });
      if (isOpen) visit(node);
    });
  };
  visit(tree.root);
  return rows;
}

/** Nodes with all that lead to them. */
export function withAncestors(nodes: Iterable<TopicNode>): Set<TopicNode> {
  const all = new Set<TopicNode>();
  for (const node of nodes) for (let up: TopicNode | undefined = node; up && !all.has(up); up = up.parent) all.add(up);
  return all;
}

export type TreeMove = { to: number } | { toggle: number } | { choose: number } | { openAll: number } | undefined;

/** What a key does in a tree whose row `at` is the active one (ARIA practices, tree view). */
export function treeMove(key: string, rows: readonly Row[], at: number): TreeMove {
  const row = rows[at];
  if (!row) return key === 'ArrowDown' || key === 'Home' ? { to: 0 } : undefined;
  const last = rows.length - 1;
  switch (key) {
    case 'ArrowDown': return { to: Math.min(last, at + 1) };
    case 'ArrowUp': return { to: Math.max(0, at - 1) };
    case 'PageDown': return { to: Math.min(last, at + 10) };
    case 'PageUp': return { to: Math.max(0, at - 10) };
    case 'Home': return { to: 0 };
    case 'End': return { to: last };
    case 'Enter': case ' ': return { choose: at };
    case '*': return { openAll: at };
    case 'ArrowRight': return row.node.children.size === 0 ? undefined : row.open ? { to: at + 1 } : { toggle: at };
    case 'ArrowLeft': return row.open ? { toggle: at } : parentOf(rows, at);
    default: return key.length === 1 ? byLetter(key, rows, at) : undefined;
  }
}

function parentOf(rows: readonly Row[], at: number): TreeMove {
  const to = rows.findIndex((row) => row.node === rows[at]!.node.parent);
  return to < 0 ? undefined : { to };
}

function byLetter(key: string, rows: readonly Row[], at: number): TreeMove {
  const order = [...rows.keys()].map((i) => (at + 1 + i) % rows.length);
  const to = order.find((i) => rows[i]!.node.name.toLowerCase().startsWith(key.toLowerCase()));
  return to === undefined ? undefined : { to };
}
