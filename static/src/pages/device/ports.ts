// Dedicated ports: the hub's range, and which targets may want one.

import type { Device, Port } from '../../api';
import { ordered, targetOf } from './connect/snippets';

export interface Range {
  address: string;
  everywhere: boolean;
  first: number;
  last: number;
}

/** Reads ADDRESS:FIRST-LAST; undefined where the hub gives no ports. */
export function rangeOf(text: string | undefined): Range | undefined {
  const found = /^(.*):(\d+)-(\d+)$/.exec(text ?? '');
  if (!found) return undefined;
  const address = found[1]!.replace(/^\[|\]$/g, '');
  return { address, everywhere: ['', '0.0.0.0', '::'].includes(address), first: Number(found[2]), last: Number(found[3]) };
}

/** Targets to choose from: what the device offers or reports, else the usual ones. Each has one port at most. */
export function choicesFor(device: Pick<Device, 'via' | 'offers' | 'facts'>, taken: readonly Pick<Port, 'target'>[]): string[] {
  const running = ordered(device.facts?.services).filter((service) => service.protocol !== 'ssh').map(targetOf);
  const all = device.via === 'openssh' ? (device.offers ?? []) : ['ssh', 'mqtt', 'http', ...running];
  return [...new Set(all)].filter((target) => !taken.some((port) => port.target === target));
}
