// Paths of the app and the pages behind them. Browser history is in state/location.svelte.ts.

export type PageName = 'login' | 'setup' | 'cli' | 'devices' | 'add' | 'device' | 'shells' | 'mqtt' | 'webhooks' | 'streams' | 'events' | 'settings' | 'missing';

export interface Route {
  page: PageName;
  params: Record<string, string>;
}

const table: [RegExp, PageName][] = [
  [/^\/app\/login$/, 'login'],
  [/^\/app\/setup$/, 'setup'],
  [/^\/app\/cli(-login)?$/, 'cli'],
  [/^\/app\/cli(-login)?\/(?<code>[^/]+)$/, 'cli'],
  [/^\/app\/?$/, 'devices'],
  [/^\/app\/add$/, 'add'],
  [/^\/app\/d\/(?<device>[^/]+)$/, 'device'],
  [/^\/app\/shells$/, 'shells'],
  [/^\/app\/mqtt$/, 'mqtt'],
  [/^\/app\/webhooks(\/(?<tab>endpoints|deliveries|sources|requests)(\/(?<id>[^/]+))?)?$/, 'webhooks'],
  [/^\/app\/streams$/, 'streams'],
  [/^\/app\/events$/, 'events'],
  [/^\/app\/settings$/, 'settings'],
];

export function match(path: string): Route {
  for (const [pattern, page] of table) {
    const found = pattern.exec(path);
    if (found) return { page, params: decode(found.groups ?? {}) };
  }
  return { page: 'missing', params: {} };
}

function decode(groups: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(groups).map(([name, value]) => [name, decodeOne(value ?? '')]));
}

function decodeOne(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/** Pages that a person sees before signing in. */
export function isOpen(page: PageName): boolean {
  return page === 'login' || page === 'setup';
}

/** Where sign-in may send a person back to: a path of this app, never another site's (`//evil`, `/\evil`). */
export function safeReturn(next: string | null): string {
  if (!next || !/^\/app(\/|$|\?)/.test(next) || /[\\\s]/.test(next)) return '/app/';
  const url = new URL(next, 'https://hub.invalid');
  const { page } = match(url.pathname);
  if (url.host !== 'hub.invalid' || page === 'missing' || isOpen(page)) return '/app/';
  return url.pathname + url.search;
}
