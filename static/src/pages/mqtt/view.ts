// The console's view as its address says it.

import { formatNames, type Format } from '../../mqtt/decode';
import { filterError } from '../../mqtt/topics';

export const tabNames = { live: 'Live', retained: 'Retained', clients: 'Clients' } as const;
export const paneNames = { message: 'Message', history: 'History', chart: 'Chart', publish: 'Publish' } as const;
export type TabName = keyof typeof tabNames;
export type PaneName = keyof typeof paneNames;
/** On a phone one of these fills the screen. */
export type Layer = 'topics' | 'messages' | 'detail';

export interface View {
  /** Id or name of the device whose own broker it is; empty for the hub's. */
  device: string;
  filter: string;
  q: string;
  /** What is chosen in the tree: a topic or a level. */
  topic: string;
  /** The topic of the message that is looked at, where it is another. */
  message: string;
  tab: TabName;
  pane: PaneName;
  as: Format | '';
  path: string;
  layer: Layer;
}

const layers: readonly Layer[] = ['topics', 'messages', 'detail'];

export function viewOf(query: URLSearchParams): View {
  const text = (name: string) => query.get(name) ?? '';
  const among = <T extends string>(name: string, names: readonly T[], otherwise: T) => names.find((value) => value === query.get(name)) ?? otherwise;
  const filter = text('filter');
  return {
    device: text('device'),
    filter: filter !== '' && filterError(filter) === '' ? filter : '#',
    q: text('q'),
    topic: text('topic'),
    message: text('message'),
    tab: among('tab', Object.keys(tabNames) as TabName[], 'live'),
    pane: among('pane', Object.keys(paneNames) as PaneName[], 'message'),
    as: among('as', Object.keys(formatNames) as Format[], '' as Format),
    path: text('path'),
    layer: among('view', layers, 'topics'),
  };
}

/** The address after changes; empty takes a parameter away. */
export function hrefOf(query: URLSearchParams, changes: Record<string, string>): string {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  return `/app/mqtt${next.size ? `?${next}` : ''}`;
}
