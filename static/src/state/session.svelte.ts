// Who is signed in, and at which hub.

import { api, type Me } from '../api';
import { asProblem, type Problem } from '../problem';
import { location } from './location.svelte';

class Session {
  me = $state.raw<Me>();
  problem = $state.raw<Problem>();
  loading = $state(false);

  readonly hubName = $derived(this.me?.hub.name || 'Adit');
  readonly mayAdd = $derived(this.me?.user.role === 'owner' || this.me?.user.role === 'admin');

  async load(): Promise<void> {
    this.loading = true;
    try {
      this.me = await api.get('/api/v1/me');
      this.problem = undefined;
    } catch (error) {
      const problem = asProblem(error);
      if (problem.code === 'unauthenticated') await this.leave();
      else this.problem = problem;
    } finally {
      this.loading = false;
    }
  }

  enter(me: Me): void {
    this.me = me;
    this.problem = undefined;
  }

  /** Goes to sign-in, or to set-up while the hub has no owner, and comes back to this page afterwards. */
  async leave(): Promise<void> {
    this.me = undefined;
    const needed = await api.get('/api/v1/setup').then((setup) => setup.needed, () => false);
    if (needed) return location.go('/app/setup', 'replace');
    const here = location.path + window.location.search;
    location.go(here === '/app/' || here === '/app' ? '/app/login' : `/app/login?next=${encodeURIComponent(here)}`, 'replace');
  }

  async signOut(): Promise<void> {
    await api.post('/api/v1/logout').catch(() => {});
    window.location.assign('/app/login');
  }
}

export const session = new Session();
