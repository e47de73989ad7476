// The difference between two texts, by lines.

export interface DiffLine {
  kind: 'same' | 'out' | 'in';
  text: string;
}

/** Beyond so many cells the table costs more than the difference tells. */
const CELLS = 250_000;

export function diff(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split('\n'), after.split('\n')];
  let front = 0;
  while (front < a.length && front < b.length && a[front] === b[front]) front++;
  let back = 0;
  while (back < a.length - front && back < b.length - front && a.at(-1 - back) === b.at(-1 - back)) back++;
  const line = (kind: DiffLine['kind']) => (text: string): DiffLine => ({ kind, text });
  return [
    ...a.slice(0, front).map(line('same')),
    ...middle(a.slice(front, a.length - back), b.slice(front, b.length - back)),
    ...a.slice(a.length - back).map(line('same')),
  ];
}

/** By the longest common subsequence; what goes out stands before what comes in. */
function middle(a: string[], b: string[]): DiffLine[] {
  const lines: DiffLine[] = [];
  const table = a.length * b.length > CELLS ? undefined : common(a, b);
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (table && i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: 'same', text: a[i]! });
      i++;
      j++;
    } else if (i < a.length && (j >= b.length || !table || table[i + 1]![j]! >= table[i]![j + 1]!)) lines.push({ kind: 'out', text: a[i++]! });
    else lines.push({ kind: 'in', text: b[j++]! });
  }
  return lines;
}

/** How long the longest common subsequence of what follows each pair of places is. */
function common(a: string[], b: string[]): Uint16Array[] {
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i]![j] = a[i] === b[j] ? table[i + 1]![j + 1]! + 1 : Math.max(table[i + 1]![j]!, table[i]![j + 1]!);
    }
  }
  return table;
}
