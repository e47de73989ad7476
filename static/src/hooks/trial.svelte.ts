// What the hub makes of templates and programs, asked while somebody types: so that a preview cannot be wrong.

import { onDestroy } from 'svelte';
import { api, type HookTransform } from '../api';
import { asProblem } from '../problem';

/** After the last key, in ms. */
const PAUSE = 300;

export interface Trial {
  /** What came out last; undefined before that, and where nothing is asked. */
  readonly output: string | undefined;
  readonly problem: string;
  readonly busy: boolean;
}

/** Follows what is asked; nothing is where `ask` gives undefined. An `input` that is an Error is the problem itself. */
export function trial(ask: () => { transform: HookTransform; input: unknown } | undefined): Trial {
  let output = $state<string>();
  let problem = $state('');
  let busy = $state(false);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let turn = 0;
  onDestroy(() => clearTimeout(timer));

  $effect(() => {
    const asked = ask();
    const mine = ++turn;
    clearTimeout(timer);
    busy = asked !== undefined;
    if (!asked) [output, problem] = [undefined, ''];
    else timer = setTimeout(() => void run(asked.transform, asked.input, mine), PAUSE);
  });

  async function run(transform: HookTransform, input: unknown, mine: number) {
    try {
      if (input instanceof Error) throw input;
      const tried = await api.post('/api/v1/hooks/try', { body: { transform, input } });
      if (mine === turn) [output, problem] = [tried.output, ''];
    } catch (error) {
      const { fields, message } = asProblem(error);
      if (mine === turn) problem = fields['text'] ?? fields['transform'] ?? message;
    } finally {
      if (mine === turn) busy = false;
    }
  }

  return { get output() { return output; }, get problem() { return problem; }, get busy() { return busy; } };
}
