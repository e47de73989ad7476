// Lines that a person copies to reach a device from a terminal of their own.

import type { Device, Service } from '../../../api';
import { shellWord } from '../../../text';
import { covers, loginOf, maySSH } from './grants';

type Named = Pick<Device, 'name'>;
type Known = Pick<Device, 'name' | 'default_login' | 'logins' | 'targets' | 'facts' | 'offers' | 'via'>;

export interface Snippet {
  what: string;
  line: string;
}

export type Tab = 'adit' | 'config' | 'alone' | 'mqtt' | 'editor' | 'ansible';

/** The ways that this person's grants leave open, each with its name. */
export function tabsFor(device: Known): [Tab, string][] {
  const all: [Tab, string, boolean][] = [
    ['adit', 'adit', maySSH(device) || device.targets.some((target) => target !== 'ssh' && target !== 'rescue')],
    ['config', 'ssh with adit', maySSH(device)],
    ['alone', 'ssh alone', true],
    ['mqtt', 'MQTT', mayMQTT(device)],
    ['editor', 'VS Code', maySSH(device)],
    ['ansible', 'Ansible', maySSH(device)],
  ];
  return device.targets.length === 0 ? [] : all.filter(([, , open]) => open).map(([tab, label]) => [tab, label]);
}

/** LOGIN@NAME, or the name alone where the login is left to ssh. */
export function at(device: Pick<Device, 'name' | 'default_login' | 'logins'>, suffix = ''): string {
  const login = loginOf(device);
  return shellWord((login ? `${login}@` : '') + device.name + suffix);
}

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

/** The target of a service that the device reports. */
export function targetOf(service: Pick<Service, 'port' | 'address'>): string {
  const host = dialHost(service.address);
  return `tcp:${host.includes(':') ? `[${host}]` : host}:${service.port}`;
}

/** Listens here for a target there. A named service chooses its own port, and says which. */
export function forward(device: Named, target: string): string {
  const address = target.startsWith('tcp:') ? target.slice('tcp:'.length) : '';
  const port = Number(address.slice(address.lastIndexOf(':') + 1));
  return `adit forward ${shellWord(device.name)} ${address ? `${localPort(port)}:${address}` : target}`;
}

/** A target to show a forward of: one that runs there where there is one, and only one that is granted. */
export function exampleTarget(device: Known): string | undefined {
  const running = ordered(device.facts?.services).filter((service) => service.protocol !== 'ssh').map(targetOf);
  const offered = (device.offers ?? []).filter((target) => target !== 'ssh');
  const named = device.targets.filter((target) => !target.includes('*') && target !== 'ssh' && target !== 'rescue');
  const usual = device.via === 'agent' ? ['tcp:127.0.0.1:80'] : [];
  return [...offered, ...running, ...named, ...usual].find((target) => covers(device.targets, target));
}

export function withAdit(device: Known, hub: string): Snippet[] {
  const target = exampleTarget(device);
  return [
    { what: 'Sign in, once', line: `adit login ${shellWord(hub)}` },
    ...(maySSH(device)
      ? [{ what: 'A shell', line: `adit ssh ${at(device)}` }, { what: 'A file there', line: `adit cp FILE ${at(device)}:` }]
      : []),
    ...(target ? [{ what: 'A port of it, here', line: forward(device, target) }] : []),
  ];
}

export function withConfig(device: Known): Snippet[] {
  const host = at(device, '.adit');
  return [
    { what: 'Once', line: 'adit ssh-config' },
    { what: 'A shell', line: `ssh ${host}` },
    { what: 'A file there', line: `scp FILE ${host}:` },
    { what: 'A folder there', line: `rsync -a DIR/ ${host}:DIR/` },
  ];
}

/** Where MQTT is on the device: what it reports, what it forwards, else the port that is registered for it. */
export function mqttPort(device: Known): number {
  const service = device.facts?.services?.find((candidate) => candidate.protocol === 'mqtt');
  return service?.port ?? 1883;
}

function mayMQTT(device: Known): boolean {
  return covers(device.targets, 'mqtt') || covers(device.targets, `tcp:127.0.0.1:${mqttPort(device)}`);
}

/** The port on the own machine that the recipes for MQTT use. */
export const MQTT_HERE = 22_883;

export function forMQTT(device: Known): Snippet[] {
  const port = mqttPort(device);
  const target = `127.0.0.1:${port}`;
  return [
    { what: 'With ssh alone', line: `ssh -N -L ${MQTT_HERE}:${device.name}.adit:${port} hub` },
    { what: 'Or with adit', line: `adit forward ${shellWord(device.name)} ${MQTT_HERE}:${covers(device.targets, `tcp:${target}`) ? target : 'mqtt'}` },
    { what: 'Then listen', line: `mosquitto_sub -h 127.0.0.1 -p ${MQTT_HERE} -t 'test/#'` },
    { what: 'And speak', line: `mosquitto_pub -h 127.0.0.1 -p ${MQTT_HERE} -t test/hello -m hello` },
  ];
}

/** Whether a device that comes by stock OpenSSH forwards a port now. With our agent every port of it can be reached. */
export function offersPort(device: Known, port: number): boolean {
  return device.via === 'agent' || (device.offers ?? []).some((target) => target.endsWith(`:${port}`) || (target === 'mqtt' && port === mqttPort(device)));
}

export function inventory(device: Known): string {
  const login = loginOf(device);
  return `[adit]\n${device.name} ansible_host=${device.name}.adit${login ? ` ansible_user=${login}` : ''}\n\n[adit:vars]\nansible_ssh_pipelining=true\n`;
}

/** Services in the order of their ports, each port and address once. */
export function ordered(services: readonly Service[] | undefined): Service[] {
  const byKey = new Map((services ?? []).map((service) => [`${service.port} ${service.address ?? ''}`, service]));
  return [...byKey.values()].sort((a, b) => a.port - b.port);
}

/** One kind of forward: who listens (marked ●), who dials, and a line to copy. */
export interface ForwardHelp {
  option: '-L' | '-R' | '-D';
  name: string;
  text: string;
  diagram: string;
  spoken: string;
  line: string;
}

/** What -L, -R and -D are for. Without an SSH server to go to, a port is reached through the hub alone. */
export function forwardHelp(device: Known): ForwardHelp[] {
  const name = device.name;
  const target = exampleTarget(device);
  const address = target?.startsWith('tcp:') ? target.slice('tcp:'.length) : `127.0.0.1:${mqttPort(device)}`;
  const port = Number(address.slice(address.lastIndexOf(':') + 1));
  const here = localPort(port);
  const ssh = maySSH(device);
  const local: ForwardHelp = {
    option: '-L', name: 'local', text: 'Your machine listens. What connects to it here arrives at a port of the device, or of a neighbour that the device reaches.',
    diagram: `● you :${here}  →  hub  →  ${name}  →  ${address}`,
    spoken: `You listen on ${here}; connections go by the hub and ${name} to ${address}.`,
    line: ssh ? `ssh -N -L ${here}:${address} ${at(device, '.adit')}` : `ssh -N -L ${here}:${name}.adit:${port} hub`,
  };
  if (!ssh) return [local];
  return [
    local,
    {
      option: '-R', name: 'remote', text: 'The device listens, on its loopback. Programs there reach a port of your machine.',
      diagram: `you 127.0.0.1:3000  ←  hub  ←  ${name} :9000 ●`,
      spoken: `${name} listens on 9000; connections go by the hub to port 3000 of your machine.`,
      line: `ssh -N -R 9000:127.0.0.1:3000 ${at(device, '.adit')}`,
    },
    {
      option: '-D', name: 'dynamic', text: 'Your machine listens as a SOCKS proxy. Each program says where it wants to go, and the device goes there for it.',
      diagram: `● you :1080  →  hub  →  ${name}  →  whatever it reaches`,
      spoken: `You listen on 1080 for SOCKS; connections go by the hub and ${name} to whatever it reaches.`,
      line: `ssh -N -D 1080 ${at(device, '.adit')}`,
    },
  ];
}
