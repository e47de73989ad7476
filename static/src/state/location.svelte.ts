// The address bar as state: the current route, moving to another one, and the query as part of the view.

import { match, type Route } from '../router';

class Location {
  path = $state(window.location.pathname);
  query = $state.raw(new URLSearchParams(window.location.search));
  /** Counts navigations, so that a page can tell a move from a change of its query. */
  moves = $state(0);
  readonly route: Route = $derived(match(this.path));

  constructor() {
    window.addEventListener('popstate', () => this.read());
    document.addEventListener('click', (event) => this.follow(event));
  }

  go(url: string, how: 'push' | 'replace' = 'push'): void {
    if (how === 'push') history.pushState(null, '', url);
    else history.replaceState(null, '', url);
    this.read();
    window.scrollTo(0, 0);
  }

  /** Writes one query parameter without a new history entry; empty removes it. */
  setQuery(name: string, value: string): void {
    const query = new URLSearchParams(this.query);
    if (value) query.set(name, value);
    else query.delete(name);
    const text = query.toString();
    history.replaceState(null, '', this.path + (text ? `?${text}` : ''));
    this.query = query;
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

export const location = new Location();
