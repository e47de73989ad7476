// Open streams as they are now, read again and again while somebody looks.

import { api, type Stream } from '../api';
import { asProblem, type Problem } from '../problem';
import { ordered, stillClosing } from './streams';
import { toasts } from './toasts.svelte';

/** Counters move all the time, so there are no events for them. In ms. */
const POLL = 2_000;

export class OpenStreams {
  list = $state.raw<Stream[]>();
  problem = $state.raw<Problem>();
  closing = $state.raw<readonly string[]>([]);
  private reading = false;

  /** Of one device, or of all where none is named. */
  constructor(private readonly device = '') {}

  /** Reads at once and then while the page is seen, until the returned function is called. */
  follow(): () => void {
    const read = () => document.hidden || void this.read();
    const timer = setInterval(read, POLL);
    document.addEventListener('visibilitychange', read);
    read();
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', read);
    };
  }

  async read(): Promise<void> {
    if (this.reading) return;
    this.reading = true;
    try {
      this.show(await api.get('/api/v1/streams', { query: { device: this.device } }));
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.reading = false;
    }
  }

  /** Ends a stream. Its row stays until the hub says that it is gone. */
  async close(id: string): Promise<void> {
    this.closing = [...this.closing, id];
    try {
      await api.delete('/api/v1/streams/{stream_id}', { path: { stream_id: id } });
    } catch (error) {
      const problem = asProblem(error);
      if (problem.code !== 'not_found') {
        this.closing = this.closing.filter((other) => other !== id);
        toasts.show(problem.message, 'failed');
      }
    }
    await this.read();
  }

  private show(list: Stream[]): void {
    this.list = ordered(list);
    this.closing = stillClosing(this.closing, list);
    this.problem = undefined;
  }
}
