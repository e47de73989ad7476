// The parts of the page and their addresses: /app/webhooks/TAB lists, /app/webhooks/TAB/ID is one of them.

export const tabs = { endpoints: 'Endpoints', deliveries: 'Deliveries', sources: 'Sources', requests: 'Requests' } as const;

export type Tab = keyof typeof tabs;

/** The tab that a route asks for; the bare address is the first. */
export function tabOf(name: string | undefined): Tab {
  return name && name in tabs ? (name as Tab) : 'endpoints';
}

export function hrefOf(tab: Tab, id = ''): string {
  return `/app/webhooks/${tab}${id && `/${encodeURIComponent(id)}`}`;
}
