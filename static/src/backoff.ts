/** How long to wait before try n (from 0), in ms: full jitter under a doubling limit, never below a fifth of a second. */
export function backoff(n: number, limit = 15_000, random: () => number = Math.random): number {
  return Math.max(200, random() * Math.min(limit, 500 * 2 ** n));
}
