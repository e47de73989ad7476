// The terminal workspace: which shells this window shows, in which tabs and splits. It survives a reload of the window
// (sessionStorage); the shells themselves live on the hub.

import type { Device } from '../api';
import { panes, remove, setRatio, split, type Direction, type Node } from '../terminal/layout';
import { location } from './location.svelte';
import { sheets } from './sheets.svelte';

/** One terminal. Until the hub has opened its shell it has no `shell`. */
export interface Pane {
  id: string;
  shell: string;
  deviceId: string;
  deviceName: string;
  login: string;
  rescue: boolean;
}

export interface Tab {
  id: string;
  root: Node;
  /** The pane that has, or had last, the keyboard. */
  focus: string;
}

interface Stored {
  panes: Pane[];
  tabs: Tab[];
  active: string;
}

const KEY = 'adit-workspace';

class Workspace {
  panes = $state.raw<Pane[]>([]);
  tabs = $state.raw<Tab[]>([]);
  active = $state('');
  /** Counts how often the workspace came into view: each time its terminal takes the keyboard. */
  visits = $state(0);

  readonly tab = $derived(this.tabs.find((tab) => tab.id === this.active) ?? this.tabs[0]);
  readonly pane = $derived(this.panes.find((pane) => pane.id === this.tab?.focus));

  constructor() {
    try {
      const stored = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Stored | null;
      if (!stored) return;
      this.panes = stored.panes.filter((pane) => pane.shell);
      this.tabs = stored.tabs;
      this.active = stored.active;
      for (const pane of stored.panes) if (!pane.shell) this.close(pane.id);
    } catch {
      // Something else wrote there: begin with an empty workspace.
    }
  }

  /** Opens a shell on a device in a new tab and shows it; asks for the login where there is none to assume. */
  open(device: Pick<Device, 'id' | 'name' | 'default_login' | 'logins' | 'via'>, login = '', rescue = false): void {
    const known = login || device.default_login || (device.logins.length === 1 && device.logins[0] !== '*' ? device.logins[0]! : '');
    if (!known) return sheets.askLogin(device, (chosen, asRescue) => this.open(device, chosen, asRescue));
    this.add({ id: crypto.randomUUID(), shell: '', deviceId: device.id, deviceName: device.name, login: known, rescue });
    location.go('/app/shells');
  }

  /** Shows a shell that lives already, in a new tab. */
  show(shell: { id: string; device_id: string; device_name: string; login: string }): void {
    const have = this.panes.find((pane) => pane.shell === shell.id);
    if (have) return this.focus(have.id);
    this.add({ id: crypto.randomUUID(), shell: shell.id, deviceId: shell.device_id, deviceName: shell.device_name, login: shell.login, rescue: false });
  }

  /** Another shell on the same device, beside or below. */
  split(at: string, direction: Direction): void {
    const from = this.panes.find((pane) => pane.id === at);
    const tab = this.tabs.find((candidate) => panes(candidate.root).includes(at));
    if (!from || !tab) return;
    const pane = { ...from, id: crypto.randomUUID(), shell: '' };
    this.panes = [...this.panes, pane];
    this.put({ ...tab, root: split(tab.root, at, direction, pane.id), focus: pane.id });
  }

  resize(tab: Tab, path: readonly number[], ratio: number): void {
    this.put({ ...tab, root: setRatio(tab.root, path, ratio) });
  }

  focus(id: string): void {
    const tab = this.tabs.find((candidate) => panes(candidate.root).includes(id));
    if (!tab) return;
    if (tab.focus !== id) this.put({ ...tab, focus: id });
    this.active = tab.id;
    this.save();
  }

  /** The hub has opened the shell of a pane. */
  bind(id: string, shell: string): void {
    this.panes = this.panes.map((pane) => (pane.id === id ? { ...pane, shell } : pane));
    this.save();
  }

  /** Takes a pane away; the shell behind it is not touched. */
  close(id: string): void {
    const at = this.tabs.findIndex((tab) => panes(tab.root).includes(id));
    this.panes = this.panes.filter((pane) => pane.id !== id);
    const tab = this.tabs[at];
    if (!tab) return this.save();
    const root = remove(tab.root, id);
    if (root) {
      this.put({ ...tab, root, focus: tab.focus === id ? panes(root)[0]! : tab.focus });
      return;
    }
    this.tabs = this.tabs.toSpliced(at, 1);
    if (this.active === tab.id) this.active = (this.tabs[at] ?? this.tabs[at - 1])?.id ?? '';
    this.save();
  }

  /** Moves to the next (1) or the previous (-1) tab, round. */
  step(by: number): void {
    const at = this.tabs.findIndex((tab) => tab.id === this.tab?.id);
    const next = this.tabs[(at + by + this.tabs.length) % this.tabs.length];
    if (next) this.active = next.id;
    this.save();
  }

  private add(pane: Pane): void {
    const tab: Tab = { id: crypto.randomUUID(), root: { pane: pane.id }, focus: pane.id };
    this.panes = [...this.panes, pane];
    this.tabs = [...this.tabs, tab];
    this.active = tab.id;
    this.save();
  }

  private put(tab: Tab): void {
    this.tabs = this.tabs.map((other) => (other.id === tab.id ? tab : other));
    this.save();
  }

  private save(): void {
    sessionStorage.setItem(KEY, JSON.stringify({ panes: this.panes, tabs: this.tabs, active: this.active } satisfies Stored));
  }
}

export const workspace = new Workspace();
