// The event log as the page has it: pages from the hub, newest first, and what happens meanwhile before them.

import { api } from '../../api';
import type { HubMessage } from '../../events/stream';
import { asProblem, type Problem } from '../../problem';
import { merged, queryOf, wants, type Filter, type LogEvent } from './words';

const PAGE = 100;
/** The hub looks at so many events for a page at most; a filter that lets little through takes several. */
const ROUNDS = 25;
/** More rows than these are let go of from the end while live ones come. */
const MOST = 3_000;

export class EventLog {
  list = $state.raw<readonly LogEvent[]>();
  next = $state.raw<string>();
  problem = $state.raw<Problem>();
  busy = $state(false);
  private filter: Filter = { group: '', device: '', user: '', since: '', until: '' };
  private turn = 0;
  /** What came while the first page was on its way. */
  private early: LogEvent[] = [];

  /** Begins anew with a filter. */
  async show(filter: Filter): Promise<void> {
    this.filter = filter;
    this.early = [];
    await this.read(++this.turn, undefined);
  }

  async again(): Promise<void> {
    await this.show(this.filter);
  }

  /** Reads the next, older page. */
  async more(): Promise<void> {
    if (this.busy || !this.next) return;
    await this.read(this.turn, this.next);
  }

  /** Takes what the hub tells live. */
  hear(message: HubMessage): void {
    if (message.type === 'gap') return void this.again();
    if (!wants(this.filter, message)) return;
    const event: LogEvent = { ...message, at: message.at ?? new Date().toISOString(), data: message.data ?? {} };
    if (!this.list) return void this.early.push(event);
    this.put(event);
  }

  private put(event: LogEvent): void {
    const list = merged(this.list ?? [], event);
    if (list.length > MOST) {
      this.list = list.slice(0, MOST);
      this.next = String(this.list[MOST - 1]!.id);
    } else this.list = list;
  }

  private async read(turn: number, before: string | undefined): Promise<void> {
    this.busy = true;
    if (!before) this.list = this.next = undefined;
    this.problem = undefined;
    try {
      const found: LogEvent[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const page = await api.get('/api/v1/events', { query: { ...queryOf(this.filter), limit: PAGE, ...(before && { before }) } });
        if (turn !== this.turn) return;
        found.push(...(page.events as LogEvent[]));
        before = page.next;
        if (!before || found.length >= PAGE) break;
      }
      this.list = [...(this.list ?? []), ...found];
      this.next = before;
      for (const event of this.early.splice(0)) this.put(event);
    } catch (error) {
      if (turn === this.turn) this.problem = asProblem(error);
    } finally {
      if (turn === this.turn) this.busy = false;
    }
  }
}
