// Tabs and splits as a tree of panes, free of any view. Panes are drawn flat, at the rectangles that the tree gives
// them, so a terminal stays the same element however its surroundings are split.

export type Direction = 'row' | 'column';

export type Node = { pane: string } | Split;

interface Split {
  direction: Direction;
  /** Share of the first child, between 0 and 1. */
  ratio: number;
  first: Node;
  second: Node;
}

/** In parts of the whole, 0 to 1. */
export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Divider {
  path: number[];
  direction: Direction;
  ratio: number;
  area: Rect;
}

const isPane = (node: Node): node is { pane: string } => 'pane' in node;

export function panes(node: Node): string[] {
  return isPane(node) ? [node.pane] : [...panes(node.first), ...panes(node.second)];
}

/** Puts a new pane beside (row) or below (column) an existing one. */
export function split(node: Node, at: string, direction: Direction, added: string): Node {
  if (isPane(node)) return node.pane === at ? { direction, ratio: 0.5, first: node, second: { pane: added } } : node;
  return { ...node, first: split(node.first, at, direction, added), second: split(node.second, at, direction, added) };
}

/** Takes a pane out; its sibling gets the room. Undefined when it was the last. */
export function remove(node: Node, gone: string): Node | undefined {
  if (isPane(node)) return node.pane === gone ? undefined : node;
  const first = remove(node.first, gone);
  const second = remove(node.second, gone);
  return first && second ? { ...node, first, second } : (first ?? second);
}

export function setRatio(node: Node, path: readonly number[], ratio: number): Node {
  if (isPane(node)) return node;
  const [step, ...rest] = path;
  if (step === undefined) return { ...node, ratio: Math.min(0.9, Math.max(0.1, ratio)) };
  return step === 0 ? { ...node, first: setRatio(node.first, rest, ratio) } : { ...node, second: setRatio(node.second, rest, ratio) };
}

const whole: Rect = { x: 0, y: 0, w: 1, h: 1 };

function halves(node: Split, area: Rect): [Rect, Rect] {
  const { x, y, w, h } = area;
  const r = node.ratio;
  return node.direction === 'row'
    ? [{ x, y, w: w * r, h }, { x: x + w * r, y, w: w * (1 - r), h }]
    : [{ x, y, w, h: h * r }, { x, y: y + h * r, w, h: h * (1 - r) }];
}

export function rects(node: Node, area: Rect = whole): Map<string, Rect> {
  if (isPane(node)) return new Map([[node.pane, area]]);
  const [first, second] = halves(node, area);
  return new Map([...rects(node.first, first), ...rects(node.second, second)]);
}

export function dividers(node: Node, area: Rect = whole, path: number[] = []): Divider[] {
  if (isPane(node)) return [];
  const [first, second] = halves(node, area);
  return [
    { path, direction: node.direction, ratio: node.ratio, area },
    ...dividers(node.first, first, [...path, 0]),
    ...dividers(node.second, second, [...path, 1]),
  ];
}

export type Arrow = 'left' | 'right' | 'up' | 'down';

/** The nearest pane in a direction, by the distance of middles among those that begin beyond this one's edge. */
export function neighbour(node: Node, from: string, arrow: Arrow): string | undefined {
  const all = rects(node);
  const here = all.get(from);
  if (!here) return undefined;
  const beyond: Record<Arrow, (r: Rect) => boolean> = {
    left: (r) => r.x + r.w <= here.x + 1e-6,
    right: (r) => r.x >= here.x + here.w - 1e-6,
    up: (r) => r.y + r.h <= here.y + 1e-6,
    down: (r) => r.y >= here.y + here.h - 1e-6,
  };
  const middle = (r: Rect) => [r.x + r.w / 2, r.y + r.h / 2] as const;
  const distance = (r: Rect) => Math.hypot(middle(r)[0] - middle(here)[0], middle(r)[1] - middle(here)[1]);
  const found = [...all].filter(([, rect]) => beyond[arrow](rect)).sort((a, b) => distance(a[1]) - distance(b[1]));
  return found[0]?.[0];
}
