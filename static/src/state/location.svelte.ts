// The address bar as state: the current route, moving to another one, and the query as part of the view. A place that
// somebody comes back to is scrolled as it was left.

import { match, type Route } from '../router';

class Location {
  path = $state(window.location.pathname);
  query = $state.raw(new URLSearchParams(window.location.search));
  /** Counts navigations, so that a page can tell a move from a change of its query. */
  moves = $state(0);
  /** How far down the window belongs once the page is drawn; undefined on the first page, which the browser scrolls. */
  scroll: number | undefined;
  readonly route: Route = $derived(match(this.path));
  private entry = entryOf(history.state);
  private readonly scrolls = new Map<number, number>();
  private next = Date.now(); // entries that were made before a reload have lower numbers

  constructor() {
    window.addEventListener('popstate', () => this.comeBack());
    document.addEventListener('click', (event) => this.follow(event));
    // The browser would scroll before the page is drawn; a page that is loaded anew is its business.
    window.addEventListener('pageshow', () => (history.scrollRestoration = 'manual'));
    window.addEventListener('pagehide', () => (history.scrollRestoration = 'auto'));
  }

  go(url: string, how: 'push' | 'replace' = 'push'): void {
    this.scrolls.set(this.entry, window.scrollY);
    this.scroll = 0;
    if (how === 'replace') history.replaceState(history.state, '', url);
    else history.pushState({ entry: (this.entry = this.next++) }, '', url);
    this.read();
  }

  /** Writes one query parameter without a new history entry; empty removes it. */
  setQuery(name: string, value: string): void {
    const query = new URLSearchParams(this.query);
    if (value) query.set(name, value);
    else query.delete(name);
    const text = query.toString();
    history.replaceState(history.state, '', this.path + (text ? `?${text}` : ''));
    this.query = query;
  }

  private comeBack(): void {
    this.scrolls.set(this.entry, window.scrollY);
    this.entry = entryOf(history.state);
    this.scroll = this.scrolls.get(this.entry) ?? 0;
    this.read();
  }

  private read(): void {
    this.query = new URLSearchParams(window.location.search);
    if (this.path !== window.location.pathname) this.path = window.location.pathname;
    this.moves++;
  }

  private follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.('a[href]');
    if (!(link instanceof HTMLAnchorElement) || link.target || link.origin !== window.location.origin) return;
    if (!link.pathname.startsWith('/app')) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

function entryOf(state: unknown): number {
  return (state as { entry?: number } | null)?.entry ?? 0;
}

export const location = new Location();
