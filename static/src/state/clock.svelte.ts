/** The present moment as state, in ms since the epoch. It ticks each second, and only while the page is seen. */
class Clock {
  now = $state(Date.now());
  /** The day of it, as toDateString has it: what goes by the day alone is made anew at midnight, not each second. */
  readonly today = $derived(new Date(this.now).toDateString());

  constructor() {
    setInterval(() => document.hidden || (this.now = Date.now()), 1000);
    document.addEventListener('visibilitychange', () => document.hidden || (this.now = Date.now()));
  }
}

export const clock = new Clock();
