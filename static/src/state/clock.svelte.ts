/** The present moment as state, in ms since the epoch. It ticks each second, and only while the page is seen. */
class Clock {
  now = $state(Date.now());

  constructor() {
    setInterval(() => document.hidden || (this.now = Date.now()), 1000);
    document.addEventListener('visibilitychange', () => document.hidden || (this.now = Date.now()));
  }
}

export const clock = new Clock();
