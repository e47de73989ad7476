// The devices that this person may see, kept fresh by events.

import { api, type Device } from '../api';
import { asProblem, type Problem } from '../problem';
import { Batch } from './devices';

/** Above this many changed devices one read of the list is cheaper than a read of each. */
const MANY = 8;

/** The list leaves out what only a device's own page shows: what was read of it stays, whichever answer came first. */
function withDetail(brief: Device, read: Device | undefined): Device {
  if (!read?.ssh_host_keys) return brief;
  const { services, policy } = read.facts ?? {};
  return { ...brief, ssh_host_keys: read.ssh_host_keys, ...(brief.facts && { facts: { ...brief.facts, ...(services && { services }), ...(policy && { policy }) } }) };
}

class Fleet {
  list = $state.raw<Device[]>([]);
  loaded = $state(false);
  problem = $state.raw<Problem>();
  private wanted = 0;
  private readonly changed = new Batch((ids) => void this.refresh(ids));

  byKey(key: string): Device | undefined {
    return this.list.find((device) => device.id === key || device.name === key);
  }

  async load(): Promise<void> {
    const turn = ++this.wanted;
    try {
      const list = await api.get('/api/v1/devices');
      if (turn !== this.wanted) return;
      this.list = list.map((device) => withDetail(device, this.byKey(device.id)));
      this.loaded = true;
      this.problem = undefined;
    } catch (error) {
      if (turn === this.wanted) this.problem = asProblem(error);
    }
  }

  /** Something about a device changed; what exactly does not matter, as it is read again. */
  touch(id: string): void {
    this.changed.add(id);
  }

  put(device: Device): void {
    const at = this.list.findIndex((other) => other.id === device.id);
    this.list = at < 0 ? [...this.list, device] : this.list.with(at, device);
  }

  drop(id: string): void {
    if (this.list.some((device) => device.id === id)) this.list = this.list.filter((device) => device.id !== id);
  }

  /** Reads one device by id or name and keeps it. */
  async read(key: string): Promise<Device> {
    const device = await api.get('/api/v1/devices/{device}', { path: { device: key } });
    this.put(device);
    return device;
  }

  private async refresh(ids: string[]): Promise<void> {
    if (ids.length > MANY) return this.load();
    await Promise.all(ids.map((id) => this.refreshOne(id)));
  }

  private async refreshOne(id: string): Promise<void> {
    try {
      await this.read(id);
    } catch (error) {
      const { code } = asProblem(error);
      if (code === 'not_found' || code === 'forbidden') this.drop(id);
    }
  }
}

export const fleet = new Fleet();
