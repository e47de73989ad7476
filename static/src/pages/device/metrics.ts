// A device's figures in words, and rates between two answers.

import type { Metrics } from '../../api';
import { bytes, span } from '../../text';

export interface Figure {
  name: string;
  text: string;
  /** How full it is, 0 to 1, where that means something. */
  share?: number;
}

/** Bytes per second between two answers; undefined where the device started anew between them, or no time passed. */
export function rate(before: number | undefined, now: number | undefined, seconds: number): number | undefined {
  if (before === undefined || now === undefined || now < before || !(seconds > 0)) return undefined;
  return (now - before) / seconds;
}

/** What to show of an answer; before is the one that came last, for rates. What the device does not tell is left out. */
export function figuresOf(m: Metrics, before?: Metrics): Figure[] {
  const seconds = (m.uptime_seconds ?? 0) - (before?.uptime_seconds ?? 0);
  const rates = [
    ['in', rate(before?.network_in_bytes, m.network_in_bytes, seconds), m.network_in_bytes],
    ['out', rate(before?.network_out_bytes, m.network_out_bytes, seconds), m.network_out_bytes],
  ] as const;
  return [
    m.cpu_busy === undefined ? none : { name: 'Processor', text: `${Math.round(m.cpu_busy * 100)} %`, share: m.cpu_busy },
    { name: 'Load', text: (m.load ?? []).map((value) => value.toFixed(2)).join(' · ') },
    used('Memory', m.memory_bytes, m.memory_available_bytes),
    m.swap_bytes ? used('Swap', m.swap_bytes, m.swap_free_bytes) : none,
    used('Disk at /', m.disk_bytes, m.disk_free_bytes),
    { name: 'Network', text: rates.filter(([, , total]) => total !== undefined).map(([way, now, total]) => `${now === undefined ? bytes(total) : `${bytes(now)}/s`} ${way}`).join(', ') },
    m.temperature_celsius === undefined ? none : { name: 'Temperature', text: `${Math.round(m.temperature_celsius)} °C` },
    m.uptime_seconds === undefined ? none : { name: 'Up for', text: span(m.uptime_seconds) },
    { name: 'Agent', text: bytes(m.agent_memory_bytes) },
  ].filter((figure) => figure.text !== '');
}

const none: Figure = { name: '', text: '' };

function used(name: string, all: number | undefined, free: number | undefined): Figure {
  if (!all || free === undefined) return none;
  return { name, text: `${bytes(all - free)} of ${bytes(all)}`, share: Math.min(1, Math.max(0, (all - free) / all)) };
}
