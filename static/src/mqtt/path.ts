// Paths into data, such as `battery.volts` or `metrics[name=Temp].value`: which of them hold a number, and what it is.
// An item of a list that has a name is found by it, since lists change their order.

type Step = string | number | { name: string };

/** The whole value, where it is a number itself. */
export const ROOT = '$';
const MOST = 60;

/** A number, a number as text, or a switch as 0 and 1. */
export function asNumber(value: unknown): number | undefined {
  if (typeof value === 'boolean') return Number(value);
  if (typeof value === 'string' && /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(value)) return Number(value);
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** Paths that hold a number, in the order of the data, at most sixty. */
export function numericPaths(value: unknown): string[] {
  const found: string[] = [];
  walk(value, '', found, 0);
  return found;
}

function walk(value: unknown, path: string, found: string[], depth: number): void {
  if (found.length >= MOST || depth > 12) return;
  if (asNumber(value) !== undefined) found.push(path || ROOT);
  else if (Array.isArray(value)) value.forEach((item, i) => walk(item, `${path}[${nameOf(item) ?? i}]`, found, depth + 1));
  else if (typeof value === 'object' && value !== null) for (const [key, item] of Object.entries(value)) walk(item, join(path, key), found, depth + 1);
}

function nameOf(item: unknown): string | undefined {
  const name = (item as { name?: unknown } | null)?.name;
  return typeof name === 'string' && name !== '' && !/[\]"]/.test(name) ? `name=${name}` : undefined;
}

function join(path: string, key: string): string {
  if (!/^[^.[\]"$]+$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path ? `${path}.${key}` : key;
}

/** The number at a path; undefined where there is none. */
export function numberAt(value: unknown, path: string): number | undefined {
  let at = value;
  for (const step of steps(path)) {
    if (typeof at !== 'object' || at === null) return undefined;
    if (typeof step === 'object') at = Array.isArray(at) ? at.find((item) => (item as { name?: unknown } | null)?.name === step.name) : undefined;
    else at = Object.hasOwn(at, step) ? (at as Record<string | number, unknown>)[step] : undefined;
  }
  return asNumber(at);
}

function steps(path: string): Step[] {
  if (path === ROOT) return [];
  const parts = path.matchAll(/\[(?:name=([^\]]*)|(\d+)|("(?:[^"\\]|\\.)*"))\]|([^.[\]]+)/g);
  return [...parts].map(([, name, index, quoted, key]) => {
    if (name !== undefined) return { name };
    if (index !== undefined) return Number(index);
    return quoted === undefined ? key! : (JSON.parse(quoted) as string);
  });
}

export interface Point {
  ms: number;
  value: number;
}

/** The numbers at a path over time; messages without one are left out. */
export function series<M extends { ms: number }>(messages: readonly M[], path: string, read: (message: M) => unknown): Point[] {
  return messages.flatMap((message) => {
    const value = numberAt(read(message), path);
    return value === undefined ? [] : [{ ms: message.ms, value }];
  });
}
