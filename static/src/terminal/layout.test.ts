import { describe, expect, test } from 'vitest';
import { dividers, neighbour, panes, rects, remove, setRatio, split, type Node } from './layout';

const one: Node = { pane: 'a' };
const two = split(one, 'a', 'row', 'b');
const three = split(two, 'b', 'column', 'c');

describe('layout', () => {
  test('splits beside and below', () => {
    expect(panes(three)).toEqual(['a', 'b', 'c']);
    expect(Object.fromEntries(rects(three))).toEqual({
      a: { x: 0, y: 0, w: 0.5, h: 1 },
      b: { x: 0.5, y: 0, w: 0.5, h: 0.5 },
      c: { x: 0.5, y: 0.5, w: 0.5, h: 0.5 },
    });
  });

  test('gives the room of a closed pane to its sibling', () => {
    expect(remove(three, 'c')).toEqual(two);
    expect(remove(remove(three, 'c')!, 'a')).toEqual({ pane: 'b' });
    expect(remove(one, 'a')).toBeUndefined();
    expect(remove(three, 'nobody')).toEqual(three);
  });

  test('moves to the nearest pane, and nowhere at the edge', () => {
    expect(neighbour(three, 'a', 'right')).toBe('b');
    expect(neighbour(three, 'b', 'down')).toBe('c');
    expect(neighbour(three, 'c', 'left')).toBe('a');
    expect(neighbour(three, 'a', 'up')).toBeUndefined();
    expect(neighbour(three, 'nobody', 'up')).toBeUndefined();
  });

  test('resizes one divider and keeps every pane visible', () => {
    expect(dividers(three).map((d) => d.path)).toEqual([[], [1]]);
    expect(rects(setRatio(three, [1], 0.25)).get('b')!.h).toBe(0.25);
    expect(rects(setRatio(three, [], 7)).get('a')!.w).toBe(0.9);
    expect(setRatio(three, [0, 1], 0.3)).toEqual(three);
  });
});
