import { describe, expect, test } from 'vitest';
import type { Seen } from './message';
import { rowsOf, treeMove, TopicTree, withAncestors, DEPTH } from './tree';

let id = 0;
const message = (topic: string): Seen => ({ id: ++id, ms: id, topic, payload_base64: '', bytes: 0, qos: 0, retain: false, at: '2026-01-01T00:00:00Z' });

function grown(topics: string[], limit?: number): TopicTree {
  const tree = new TopicTree(limit);
  topics.forEach((topic, i) => tree.put(message(topic), i + 1));
  return tree;
}

const names = (tree: TopicTree, open: string[] = []) => rowsOf(tree, new Set(open)).map((row) => row.node.path);

describe('TopicTree', () => {
  test('counts messages and topics at every level', () => {
    const tree = grown(['home/door', 'home/kitchen/temp', 'home/kitchen/temp', 'home/kitchen']);
    const home = tree.find('home')!;
    expect([home.count, home.topics, home.touched]).toEqual([4, 3, 4]);
    expect([tree.find('home/kitchen')!.count, tree.find('home/kitchen/temp')!.count]).toEqual([3, 2]);
    expect(tree.find('home/kitchen')!.last).toBeDefined();
    expect(home.last).toBeUndefined();
  });

  test('shows what is below open nodes, by name and number', () => {
    const tree = grown(['b/10', 'b/9', 'a', 'b/9/x']);
    expect(names(tree)).toEqual(['a', 'b']);
    expect(names(tree, ['b'])).toEqual(['a', 'b', 'b/9', 'b/10']);
  });

  test('an empty level is a level (MQTT 5.0 §4.7.1.1)', () => {
    const tree = grown(['/a', 'b//c', 'a']);
    expect(names(tree, ['', 'b', 'b/'])).toEqual(['', '/a', 'a', 'b', 'b/', 'b//c']);
    expect(tree.size).toBe(3);
  });

  // A topic of 65,535 bytes may have 32,767 levels: the tree must not be that deep.
  test('keeps very deep topics together', () => {
    const deep = Array.from({ length: 30_000 }, (_, i) => i % 10).join('/');
    const tree = grown([deep, deep]);
    let depth = 0;
    for (let node = tree.find(deep); node?.parent; node = node.parent) depth++;
    expect(depth).toBe(DEPTH);
    expect(tree.find(deep)!.count).toBe(2);
  });

  test('lets go of what was silent longest, with the levels that only it had', () => {
    const tree = grown(['old/a', 'b', 'c', 'old/a', 'd'], 3);
    expect(names(tree, ['old'])).toEqual(['c', 'd', 'old', 'old/a']);
    tree.put(message('e'), 9);
    tree.put(message('f'), 9);
    expect(names(tree)).toEqual(['d', 'e', 'f']);
    expect([tree.size, tree.left, tree.root.topics]).toEqual([3, 3, 3]);
  });

  test('narrowed, it shows what leads to what is wanted', () => {
    const tree = grown(['home/door', 'home/kitchen/temp', 'work']);
    const wanted = withAncestors([tree.find('home/kitchen/temp')!]);
    const rows = rowsOf(tree, new Set(), wanted);
    expect(rows.map((row) => [row.node.path, row.open, row.siblings])).toEqual([['home', true, 1], ['home/kitchen', true, 1], ['home/kitchen/temp', false, 1]]);
  });
});

describe('keys', () => {
  const tree = grown(['a/x', 'b', 'beta/y']);
  const rows = rowsOf(tree, new Set(['a']));
  // a, a/x, b, beta
  test.each([
    ['ArrowDown', 0, { to: 1 }], ['ArrowDown', 3, { to: 3 }], ['ArrowUp', 0, { to: 0 }], ['End', 0, { to: 3 }], ['Home', 3, { to: 0 }],
    ['ArrowRight', 0, { to: 1 }], ['ArrowRight', 3, { toggle: 3 }], ['ArrowRight', 2, undefined], ['ArrowLeft', 0, { toggle: 0 }],
    ['ArrowLeft', 1, { to: 0 }], ['ArrowLeft', 2, undefined], ['Enter', 2, { choose: 2 }], [' ', 2, { choose: 2 }], ['*', 0, { openAll: 0 }],
    ['b', 0, { to: 2 }], ['b', 2, { to: 3 }], ['b', 3, { to: 2 }], ['z', 0, undefined], ['Tab', 0, undefined], ['ArrowDown', -1, { to: 0 }],
  ])('%s at %s', (key, at, move) => expect(treeMove(key, rows, at)).toEqual(move));
});
