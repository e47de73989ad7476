/** Where a key takes the choice among tabs, wrapping round; undefined for keys that move nothing (ARIA practices, tabs). */
export function moved(key: string, at: number, count: number): number | undefined {
  const to: Record<string, number> = { ArrowRight: (at + 1) % count, ArrowLeft: (at - 1 + count) % count, Home: 0, End: count - 1 };
  return to[key];
}
