// The configuration of stock OpenSSH, for a machine that has ssh and openssl and nothing of ours.

import type { Device, SSHGate } from '../../../api';
import { covers, maySSH } from './grants';

/** How ssh's alias for the hub is called: `ssh -L 22883:kitchen.adit:1883 hub`. */
export const ALIAS = 'hub';

/** The ProxyCommand that gets through what stands before this hub; empty where none does. */
export function proxyCommand(gate: SSHGate): string {
  if (gate.form === 'none') return '';
  return gate.proxy_commands[gate.form].trim().replace(/^ProxyCommand[\s=]+/i, '');
}

/** By HTTPS, or by the port of ADIT_SSH_ADDR. */
export type Way = 'https' | 'port';

/** The ways in that are open, the one that works through every firewall first. */
export function waysOf(gate: SSHGate): Way[] {
  return [...(proxyCommand(gate) ? ['https' as const] : []), ...(gate.address ? ['port' as const] : [])];
}

/** Why there is no way by HTTPS; empty where there is one. */
export function obstacle(gate: SSHGate): string {
  if (proxyCommand(gate)) return '';
  const TLS = Object.values(gate.proxy_commands).some(Boolean);
  return TLS ? 'What stands before this hub lets no SSH through its HTTPS port' : 'This hub is reached without TLS, so stock ssh finds no way through its web port';
}

/** Host and port of ADIT_SSH_ADDR; a host that is every interface is the hub's own name. */
export function addressOf(gate: SSHGate): { host: string; port: string } {
  const address = gate.address ?? '';
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  return { host: ['', '0.0.0.0', '::'].includes(host) ? gate.host : host, port: address.slice(colon + 1) };
}

/** The names under which known_hosts lines stand. */
function knownNames(lines: string): string[] {
  return lines.split('\n').filter((line) => line && !line.startsWith('#')).flatMap((line) => line.split(/\s/)[0]!.split(','));
}

/** ssh looks for HOST, or for [HOST]:PORT where the port is not 22. Where the hub's line has another name, that one is told. */
function hostKeyAlias(gate: SSHGate, host: string, port: string): string[] {
  const names = knownNames(gate.known_hosts);
  const wanted = port === '22' ? host : `[${host}]:${port}`;
  return names.length === 0 || names.includes(wanted) ? [] : [`HostKeyAlias ${names[0]}`];
}

function hubHost(gate: SSHGate, way: Way): string[] {
  const https = way === 'https';
  const { host, port } = https ? { host: gate.host, port: '22' } : addressOf(gate);
  return [
    `HostName ${host}`,
    ...(port === '22' ? [] : [`Port ${port}`]),
    `User ${gate.handle}`,
    ...(https ? [`ProxyCommand ${proxyCommand(gate)}`] : []),
    ...hostKeyAlias(gate, host, port),
    'IdentityFile ~/.ssh/id_ed25519',
    'IdentitiesOnly yes',
    'ServerAliveInterval 20',
  ];
}

const block = (host: string, lines: string[]) => [`Host ${host}`, ...lines.map((line) => `    ${line}`)].join('\n');

/** What goes into ~/.ssh/config: the hub, and every device behind it where the person may use ssh. */
export function sshConfig(gate: SSHGate, device: Pick<Device, 'targets' | 'logins'>, way: Way): string {
  const devices = maySSH(device) ? [block('*.adit', [`ProxyJump ${ALIAS}`, 'ServerAliveInterval 20'])] : [];
  return [block(ALIAS, hubHost(gate, way)), ...devices].join('\n\n') + '\n';
}

/** What goes into ~/.ssh/known_hosts: the hub's key, and the device's own as the hub has pinned it; or the hub's for devices, where it ends SSH. */
export function knownHosts(gate: SSHGate, device: Pick<Device, 'name' | 'ssh_host_keys' | 'targets' | 'gate_ends_ssh'>): string {
  if (device.gate_ends_ssh) return `${gate.known_hosts.trim()}\n${device.name}.adit ${gate.held_host_key}\n`;
  const pinned = covers(device.targets, 'ssh') ? (device.ssh_host_keys ?? []).filter((key) => !key.pending) : [];
  return [gate.known_hosts.trim(), ...pinned.map((key) => `${device.name}.adit ${key.key.split(/\s+/).slice(0, 2).join(' ')}`)].join('\n') + '\n';
}
