// What had the focus gets it back when something that took it is gone, so that a keyboard goes on where it was.

import { tick } from 'svelte';

/** Remembers what has the focus. The function gives it back, or to `other` where that is gone, unless something has the focus by then. */
export function rememberFocus(): (other?: () => HTMLElement | null | undefined) => Promise<void> {
  const before = document.activeElement;
  return async (other) => {
    await tick();
    if (document.activeElement && document.activeElement !== document.body) return;
    const to = before instanceof HTMLElement && before !== document.body && before.isConnected ? before : other?.();
    to?.focus({ preventScroll: true });
  };
}
