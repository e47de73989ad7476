// Lines that a person copies to reach a device from a terminal of their own.

import type { Device, Service } from '../../api';
import { shellWord } from '../../text';

/** A port on the own machine for a port of the device: one that needs no root and is seldom taken. */
export function localPort(port: number): number {
  if (port < 1024) return 8000 + port;
  return port <= 55_535 ? port + 10_000 : port;
}

/** Where the service listens as the device itself dials it. */
export function dialHost(address: string | undefined): string {
  if (!address || address === '0.0.0.0' || address === '::' || address === '*') return '127.0.0.1';
  return address;
}

export function forward(device: Pick<Device, 'name'>, service: Pick<Service, 'port' | 'address'>): string {
  const host = dialHost(service.address);
  const target = host.includes(':') ? `[${host}]` : host;
  return `adit forward ${shellWord(device.name)} ${localPort(service.port)}:${target}:${service.port}`;
}

export interface Snippet {
  what: string;
  line: string;
}

export function snippets(device: Pick<Device, 'name' | 'default_login'>): Snippet[] {
  const at = (device.default_login ? `${device.default_login}@` : '') + device.name;
  return [
    { what: 'A shell', line: `adit ssh ${shellWord(at)}` },
    { what: 'A file there', line: `adit cp FILE ${shellWord(`${device.name}:`)}` },
    { what: 'Stock ssh, scp, rsync, editors', line: `adit ssh-config && ssh ${shellWord(`${at}.adit`)}` },
  ];
}

/** Services in the order of their ports, each port and address once. */
export function ordered(services: readonly Service[] | undefined): Service[] {
  const byKey = new Map((services ?? []).map((service) => [`${service.port} ${service.address ?? ''}`, service]));
  return [...byKey.values()].sort((a, b) => a.port - b.port);
}
