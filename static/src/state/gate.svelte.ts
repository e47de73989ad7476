// How stock OpenSSH reaches the hub, for the person who is signed in.

import { untrack } from 'svelte';
import { api, type SSHGate } from '../api';
import { asProblem, type Problem } from '../problem';

class Gate {
  value = $state.raw<SSHGate>();
  problem = $state.raw<Problem>();

  /** Reads it where it is not known yet; `again` reads it in any case, for a challenge that has grown old. */
  async load(again = false): Promise<void> {
    if (!again && untrack(() => this.value)) return;
    try {
      this.value = await api.get('/api/v1/ssh-gate');
      this.problem = undefined;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }
}

export const gate = new Gate();
