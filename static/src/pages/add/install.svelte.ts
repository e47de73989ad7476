// One install code on its way: it stays while other pages are looked at, since its secret is shown only once.

import { api, type InstallCode, type InstallCodeRequest, type NewInstallCode } from '../../api';
import { asProblem, type Problem } from '../../problem';
import { live } from '../../state/live.svelte';
import { location } from '../../state/location.svelte';
import { toasts } from '../../state/toasts.svelte';
import { plain, tagsOf } from '../../text';

/** Events bring the steps; this is only for one that was missed. In ms. */
const POLL = 5_000;

class Install {
  name = $state('');
  tags = $state('');
  allow = $state('');
  replaces = $state('');
  uses = $state(1);
  expires_in = $state(900);
  approval = $state(false);
  root_password = $state(false);
  /** What keeps the way in open on the device. The code is good for both. */
  via = $state<'agent' | 'openssh'>('agent');

  busy = $state(false);
  problem = $state.raw<Problem>();
  made = $state.raw<NewInstallCode>();
  code = $state.raw<InstallCode>();
  private stopFollowing: (() => void) | undefined;

  async make(): Promise<void> {
    this.busy = true;
    this.problem = undefined;
    try {
      this.made = await api.post('/api/v1/install-codes', { body: this.request() });
      this.code = undefined;
      this.follow(this.made.id);
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.busy = false;
    }
  }

  /** Back to the form with its fields as they were; the code goes on to work until it expires. */
  again(): void {
    this.stopFollowing?.();
    this.made = undefined;
    this.code = undefined;
    this.name = '';
    this.replaces = '';
  }

  async revoke(): Promise<void> {
    const id = this.made?.id;
    this.again();
    if (id) await api.delete('/api/v1/install-codes/{code_id}', { path: { code_id: id } }).catch(() => {});
  }

  private request(): InstallCodeRequest {
    const allow = tagsOf(this.allow);
    const tags = tagsOf(this.tags);
    return {
      uses: this.uses,
      expires_in: this.expires_in,
      ...(this.name.trim() ? { name: this.name.trim() } : {}),
      ...(tags.length ? { tags } : {}),
      ...(allow.length ? { allow } : {}),
      ...(this.replaces.trim() ? { replaces: this.replaces.trim() } : {}),
      // A device that takes another's place is let in by whoever makes the code.
      ...(this.root_password ? { root_password: true } : {}),
      ...(this.approval && !this.replaces.trim() ? { approval: true } : {}),
    };
  }

  private follow(id: string): void {
    this.stopFollowing?.();
    const read = () => void this.read(id);
    const silence = live.listen(({ type }) => (type.startsWith('install.') || type.startsWith('device.') || type === 'gap') && read());
    const timer = setInterval(() => document.hidden || read(), POLL);
    this.stopFollowing = () => {
      silence();
      clearInterval(timer);
    };
    read();
  }

  private async read(id: string): Promise<void> {
    try {
      const code = await api.get('/api/v1/install-codes/{code_id}', { path: { code_id: id } });
      if (this.made?.id !== id) return;
      this.tell(this.code, code);
      this.code = code;
    } catch {
      // Expired codes may be gone; the countdown tells, and the steps seen so far stay.
    }
  }

  /** Somebody who went on to another page hears that the device has arrived. */
  private tell(before: InstallCode | undefined, after: InstallCode): void {
    if (!before || location.route.page === 'add' || location.route.page === 'devices') return;
    for (const step of after.steps.slice(before.steps.length)) {
      if (step.step !== 'online' && step.step !== 'pending') continue;
      const text = step.step === 'online' ? 'is online' : 'waits to be let in';
      const open = { label: 'Show', run: () => location.go(`/app/d/${step.device_id}`) };
      toasts.show(`${plain(step.device_name) || 'The new device'} ${text}.`, 'done', step.device_id ? open : undefined);
    }
  }
}

export const install = new Install();
