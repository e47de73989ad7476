// The own shells that still live on the hub.

import { api, type Shell } from '../api';

class Shells {
  list = $state.raw<Shell[]>([]);
  loaded = $state(false);

  readonly count = $derived(this.list.filter((shell) => shell.state !== 'ended').length);

  async load(): Promise<void> {
    try {
      this.list = await api.get('/api/v1/shells');
      this.loaded = true;
    } catch {
      // The bar says that the hub cannot be reached; the next event or reconnection reads again.
    }
  }

  async open(device: string, login: string | undefined, size: { cols: number; rows: number }, rescue = false): Promise<Shell> {
    const shell = await api.post('/api/v1/shells', { body: { device, ...size, ...(login ? { login } : {}), ...(rescue ? { rescue } : {}) } });
    this.list = [...this.list.filter((other) => other.id !== shell.id), shell];
    return shell;
  }

  async close(id: string): Promise<void> {
    this.list = this.list.filter((shell) => shell.id !== id);
    await api.delete('/api/v1/shells/{shell_id}', { path: { shell_id: id } }).catch(() => {});
  }
}

export const shells = new Shells();
