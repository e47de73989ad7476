// From the steps that the hub has seen of an install code to what a person reads.

import type { InstallStep } from '../../api';
import { plain } from '../../text';

export type StepName = InstallStep['step'];

export interface Line {
  name: StepName;
  text: string;
  at: string;
  state: 'done' | 'now' | 'later';
}

export type Via = 'agent' | 'openssh';

/** Without our agent there is no program to download. */
const order: Record<Via, StepName[]> = {
  agent: ['script_read', 'binary_read', 'enrolled', 'online'],
  openssh: ['script_read', 'enrolled', 'online'],
};

const waiting: Record<StepName, string> = {
  script_read: 'The device reads the script',
  binary_read: 'It downloads the program',
  enrolled: 'It registers',
  pending: 'A person lets it in',
  online: 'It comes online',
};

function done(step: Omit<InstallStep, 'at'>): string {
  const name = plain(step.device_name);
  const texts: Record<StepName, string> = {
    script_read: `Script read${from(step)}`,
    binary_read: `Program downloaded${from(step)}`,
    enrolled: `Registered${name ? ` as ${name}` : ''}`,
    pending: `${name || 'The device'} waits to be let in`,
    online: `${name || 'The device'} is online`,
  };
  return texts[step.step];
}

function from(step: Omit<InstallStep, 'at'>): string {
  const program = plain(step.program).split(/[\s(]/)[0]?.replace('/', ' ') ?? '';
  return (step.address ? ` from ${plain(step.address)}` : '') + (program ? ` (${program})` : '');
}

/**
 * The checklist: what happened with its time, the step that is next, and those after it. Nothing is next where the code
 * has expired before a device registered.
 */
export function checklist(steps: readonly InstallStep[], via: Via = 'agent', expired = false): Line[] {
  const seen = new Map(steps.map((step) => [step.step, step]));
  const names = seen.has('pending') ? order[via].toSpliced(-1, 0, 'pending') : order[via];
  const last = names.findLastIndex((name) => seen.has(name));
  const asks = seen.has('pending') && !seen.has('online');
  const waits = !asks && (!expired || last >= names.indexOf('enrolled'));
  return names.map((name, i) => {
    const step = seen.get(name);
    const state = name === 'pending' && asks ? 'now' : step || i < last ? 'done' : i === last + 1 && waits ? 'now' : 'later';
    return { name, state, text: step || state === 'done' ? done(step ?? { step: name }) : waiting[name], at: step?.at ?? '' };
  });
}

/** The devices that came by this code, oldest first. */
export function arrivals(steps: readonly InstallStep[]): string[] {
  return [...new Set(steps.map((step) => step.device_id).filter((id): id is string => !!id))];
}

/** After this long without a step a likely cause is shown, in ms. */
export const PATIENCE = 30_000;

/** What is probably wrong when nothing follows the last step, with a line that tells or mends it. */
export function hint(last: StepName | undefined, via: Via = 'agent'): Hint | undefined {
  return (via === 'openssh' ? { ...hints, ...stock } : hints)[last ?? 'none'];
}

interface Hint {
  text: string;
  command: string;
}

type Hints = Partial<Record<StepName | 'none', Hint>>;

const hints: Hints = {
  none: { text: 'Nothing has arrived. “curl: (60)” means a wrong clock or an inspecting proxy, “curl: (6)” that names do not resolve.', command: 'date; getent hosts example.org' },
  script_read: { text: 'The script was read but nothing was downloaded. It may be waiting for the sudo password, or for an answer on the device.', command: 'uname -sm; id -u' },
  binary_read: { text: 'The program is on the device but has not registered. A code that was used or has expired says so on the device.', command: 'adit agent status' },
  enrolled: { text: 'It registered and does not connect. Something between may not let WebSockets through; the status names the cause.', command: 'adit agent status' },
};

/** What differs where stock OpenSSH keeps the way in. */
const stock: Hints = {
  script_read: { text: 'The script was read but nothing has registered. It may be waiting for the sudo password, or ssh, ssh-keygen or openssl is missing.', command: 'command -v ssh ssh-keygen openssl' },
  enrolled: { text: 'It registered and its ssh does not come through. The log of its service names the cause; without systemd it is in the system’s own log.', command: "journalctl -u 'adit*' -n 20" },
};
