// What the signed-in person's grants allow on a device, as far as a page has to know: the hub decides.

import type { Device } from '../../../api';

type Granted = Pick<Device, 'targets' | 'logins'>;

/** Whether one of the target patterns holds a target: the same, `*`, `tcp:*`, or `tcp:HOST:PORT` with `*` for either. */
export function covers(patterns: readonly string[], target: string): boolean {
  return patterns.some((pattern) => {
    if (pattern === '*' || pattern === target) return true;
    if (!pattern.startsWith('tcp:') || !target.startsWith('tcp:')) return false;
    if (pattern === 'tcp:*') return true;
    const [wantHost, wantPort] = cutPort(pattern);
    const [host, port] = cutPort(target);
    return (wantHost === '*' || wantHost === host) && (wantPort === '*' || wantPort === port);
  });
}

/** Cuts at the last colon, since an IPv6 host has more. */
function cutPort(target: string): [host: string, port: string] {
  const at = target.lastIndexOf(':');
  return [target.slice('tcp:'.length, at), target.slice(at + 1)];
}

export function maySSH(device: Granted): boolean {
  return covers(device.targets, 'ssh') && device.logins.length > 0;
}

/** The device as SSH past the hub sees it: without the logins for which the hub ends SSH. */
export function past<D extends Pick<Device, 'logins' | 'held_logins'>>(device: D): D {
  return { ...device, logins: device.logins.filter((login) => !device.held_logins.includes(login)) };
}

/** Whether any port may be forwarded through the device's own sshd: a certificate cannot say which, so it is all or none. */
export function mayForward(device: Granted): boolean {
  return covers(device.targets, 'tcp:*:*');
}

/** The login to work as: the device's default where it is granted, else the first that is; empty leaves it to ssh. */
export function loginOf(device: Pick<Device, 'logins' | 'default_login'>): string {
  const usual = device.default_login ?? '';
  if (device.logins.includes('*') || device.logins.includes(usual)) return usual;
  return device.logins[0] ?? '';
}
