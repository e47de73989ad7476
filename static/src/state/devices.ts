// Filtering and sorting devices, free of any view.

import type { Device } from '../api';

export type Status = 'online' | 'offline' | 'pending' | 'trouble';
export type SortKey = 'name' | 'status' | 'seen' | 'added';

export const sortKeys: Record<SortKey, string> = { name: 'name', status: 'status', seen: 'last seen', added: 'date added' };

export function statusOf(device: Pick<Device, 'online' | 'status' | 'cause'>): Status {
  if (device.status === 'pending') return 'pending';
  if (device.cause && device.cause !== 'pending') return 'trouble';
  return device.online ? 'online' : 'offline';
}

/** What a device's ping may be, in seconds. */
export const PING = { least: 15, most: 600 };

/** Within how many seconds it is noticed that a device which is pinged so often went offline. */
export function noticedWithin(ping_seconds: number): number {
  return Math.max(40, Math.ceil(ping_seconds * 2.5));
}

/** Why a device is in trouble, in a sentence. */
export function causeText(cause: string | undefined): string {
  const texts: Record<string, string> = {
    clone: 'Two machines use this device’s key: an image was copied with its identity. Run “adit agent prepare-image” on images, and enrol the copy anew.',
    'hub-key': 'The device refuses this hub’s key. It was enrolled at another hub, or this hub was restored without its key.',
    'connection-cap': 'Something between device and hub limits the number of connections; streams may have to wait.',
    pending: 'A person has to let this device in.',
  };
  return cause ? (texts[cause] ?? cause) : '';
}

/** The text that a filter looks in. Built once per device, as a keystroke looks through all of them. */
const haystacks = new WeakMap<Device, string>();

function haystack(device: Device): string {
  let text = haystacks.get(device);
  if (text === undefined) {
    const facts = device.facts;
    text = [device.name, facts?.hostname, facts?.os, facts?.arch, facts?.model, device.address, ...device.tags, statusOf(device)].join('\n').toLowerCase();
    haystacks.set(device, text);
  }
  return text;
}

export interface View {
  text: string;
  tag: string;
  status: string;
  sort: SortKey;
}

/** Devices that match every word of the filter, the tag and the status. */
export function matching(devices: readonly Device[], view: Omit<View, 'sort'>): Device[] {
  const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
  return devices.filter(
    (device) =>
      (!view.tag || device.tags.includes(view.tag)) &&
      (!view.status || statusOf(device) === view.status) &&
      words.every((word) => haystack(device).includes(word)),
  );
}

export function sorted(devices: readonly Device[], by: SortKey): Device[] {
  return devices.toSorted(order[by]);
}

/** Devices that match, in order. */
export function select(devices: readonly Device[], view: View): Device[] {
  return sorted(matching(devices, view), view.sort);
}

const collator = new Intl.Collator(undefined, { numeric: true });
const byName = (a: Device, b: Device) => collator.compare(a.name, b.name);
const rank: Record<Status, number> = { pending: 0, trouble: 1, online: 2, offline: 3 };

const order: Record<SortKey, (a: Device, b: Device) => number> = {
  name: byName,
  status: (a, b) => rank[statusOf(a)] - rank[statusOf(b)] || byName(a, b),
  seen: (a, b) => Number(b.online) - Number(a.online) || (b.last_seen_at ?? '').localeCompare(a.last_seen_at ?? '') || byName(a, b),
  added: (a, b) => b.created_at.localeCompare(a.created_at) || byName(a, b),
};

/** Every tag in use, with how many devices carry it, most used first. */
export function tagCounts(devices: readonly Device[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const device of devices) for (const tag of device.tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
}

export function statusCounts(devices: readonly Device[]): Record<Status, number> {
  const counts: Record<Status, number> = { online: 0, offline: 0, pending: 0, trouble: 0 };
  for (const device of devices) counts[statusOf(device)]++;
  return counts;
}

/** Collects ids for a moment, then hands them over together: one burst of events is one read. */
export class Batch {
  private ids = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly flush: (ids: string[]) => void,
    private readonly wait = 60,
  ) {}

  add(id: string): void {
    this.ids.add(id);
    this.timer ??= setTimeout(() => {
      const ids = [...this.ids];
      this.ids.clear();
      this.timer = undefined;
      this.flush(ids);
    }, this.wait);
  }
}
