// Reading a thing again and again while somebody looks at it, and at once when the hub says that something happened.

import { live } from '../state/live.svelte';

/** A burst of events is one reading in so many ms. */
const CALM = 500;

export interface Following {
  /** Reads and never throws. */
  read: () => Promise<void>;
  /** How long until the next reading, in ms; 0 where nothing is expected to change by itself. */
  every: () => number;
  /** Which events ask for a reading before that. */
  hears: RegExp;
}

/** Reads at once and then as told while the page is seen, never twice at a time, until the returned function is called. */
export function follow({ read, every, hears }: Following): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let busy = false;
  let missed = false;
  let ended = false;
  let last = -Infinity;

  async function run(): Promise<void> {
    if (busy || document.hidden) return void (missed = true);
    busy = true;
    missed = false;
    last = performance.now();
    await read();
    busy = false;
    plan(missed ? CALM : every());
  }

  function plan(wait: number): void {
    clearTimeout(timer);
    if (!ended && wait > 0) timer = setTimeout(() => void run(), wait);
  }

  const soon = () => plan(Math.max(1, last + CALM - performance.now()));
  const seen = () => document.hidden || soon();
  const deaf = live.listen(({ type }) => (type === 'gap' || hears.test(type)) && (busy ? (missed = true) : soon()));
  document.addEventListener('visibilitychange', seen);
  void run();
  return () => {
    ended = true;
    clearTimeout(timer);
    deaf();
    document.removeEventListener('visibilitychange', seen);
  };
}
