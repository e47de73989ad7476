/** Messages per second, over the last few seconds. */
export class Rate {
  private readonly buckets = new Map<number, number>();

  constructor(private readonly seconds = 5) {}

  add(count: number, now: number): void {
    const second = Math.floor(now / 1000);
    this.buckets.set(second, (this.buckets.get(second) ?? 0) + count);
    for (const old of this.buckets.keys()) if (old < second - this.seconds) this.buckets.delete(old);
  }

  /** Of the whole seconds that have passed; the one that runs would be too low. */
  at(now: number): number {
    const second = Math.floor(now / 1000);
    let sum = 0;
    for (let i = 1; i <= this.seconds; i++) sum += this.buckets.get(second - i) ?? 0;
    return sum / this.seconds;
  }
}
