import { describe, expect, test } from 'vitest';
import type { SSHGate } from '../../../api';
import { addressOf, knownHosts, obstacle, proxyCommand, sshConfig, waysOf } from './alone';

const commands = { upgrade: "sh -c 'up'", patient: "sh -c 'patient'", raw: "sh -c 'raw'" };
function gate(more: Partial<SSHGate> = {}): SSHGate {
  return {
    host: 'hub.example', handle: 'dan', host_key: 'ssh-ed25519 AAAA', fingerprint: 'SHA256:x', known_hosts: 'hub.example ssh-ed25519 AAAA\n',
    form: 'patient', proxy_commands: commands, challenge: 'c', namespace: 'n', held_host_key: 'ssh-ed25519 HHHH', ...more,
  };
}
const none = { upgrade: '', patient: '', raw: '' };
const device = { name: 'kitchen', targets: ['*'], logins: ['*'], gate_ends_ssh: false };

describe('the way in', () => {
  test('is the form that the hub recommends', () => {
    expect(proxyCommand(gate())).toBe("sh -c 'patient'");
    expect(proxyCommand(gate({ form: 'raw' }))).toBe("sh -c 'raw'");
  });
  test('has the keyword once, whether the hub wrote it or not', () => {
    expect(proxyCommand(gate({ proxy_commands: { ...none, patient: "ProxyCommand sh -c 'x'\n" } }))).toBe("sh -c 'x'");
  });
  test('is HTTPS, or the port of ADIT_SSH_ADDR, or none', () => {
    expect(waysOf(gate())).toEqual(['https']);
    expect(waysOf(gate({ address: 'hub.example:2222' }))).toEqual(['https', 'port']);
    expect(waysOf(gate({ proxy_commands: none, address: 'hub.example:2222' }))).toEqual(['port']);
    expect(waysOf(gate({ form: 'none', address: 'hub.example:2222' }))).toEqual(['port']);
    expect(waysOf(gate({ proxy_commands: none }))).toEqual([]);
  });
  test('says what is in the way', () => {
    expect(obstacle(gate())).toBe('');
    expect(obstacle(gate({ form: 'none' }))).toMatch(/before this hub/);
    expect(obstacle(gate({ proxy_commands: none }))).toMatch(/without TLS/);
  });
  test.each([['10.0.0.5:2222', '10.0.0.5', '2222'], [':2222', 'hub.example', '2222'], ['[::]:22', 'hub.example', '22'], ['[::1]:2222', '::1', '2222']])('%s', (address, host, port) => {
    expect(addressOf(gate({ address }))).toEqual({ host, port });
  });
});

describe('~/.ssh/config', () => {
  test('through the HTTPS port', () => {
    expect(sshConfig(gate(), device, 'https')).toBe(`Host hub
    HostName hub.example
    User dan
    ProxyCommand sh -c 'patient'
    IdentityFile ~/.ssh/id_ed25519
    IdentitiesOnly yes
    ServerAliveInterval 20

Host *.adit
    ProxyJump hub
    ServerAliveInterval 20
`);
  });
  test('through a port of its own, with the name under which the key is known', () => {
    expect(sshConfig(gate({ address: 'hub.example:2222' }), device, 'port')).toBe(`Host hub
    HostName hub.example
    Port 2222
    User dan
    HostKeyAlias hub.example
    IdentityFile ~/.ssh/id_ed25519
    IdentitiesOnly yes
    ServerAliveInterval 20

Host *.adit
    ProxyJump hub
    ServerAliveInterval 20
`);
  });
  test('needs no alias where the hub names the port too', () => {
    const known_hosts = 'hub.example ssh-ed25519 AAAA\n[hub.example]:2222 ssh-ed25519 AAAA\n';
    expect(sshConfig(gate({ address: 'hub.example:2222', known_hosts }), device, 'port')).not.toContain('HostKeyAlias');
  });
  test('has no hosts behind the hub where no shell is granted', () => {
    expect(sshConfig(gate(), { targets: ['mqtt'], logins: [] }, 'https')).not.toContain('*.adit');
  });
});

test('known_hosts holds the hub’s key and the pinned ones of the device', () => {
  const ssh_host_keys = [{ key: 'ssh-ed25519 BBBB', fingerprint: 'SHA256:y', pending: false }, { key: 'ssh-ed25519 CCCC', fingerprint: 'SHA256:z', pending: true }];
  expect(knownHosts(gate(), { ...device, ssh_host_keys })).toBe('hub.example ssh-ed25519 AAAA\nkitchen.adit ssh-ed25519 BBBB\n');
  expect(knownHosts(gate(), { ...device, ssh_host_keys, targets: ['mqtt'] })).toBe('hub.example ssh-ed25519 AAAA\n');
  expect(knownHosts(gate(), { ...device, ssh_host_keys, gate_ends_ssh: true })).toBe('hub.example ssh-ed25519 AAAA\nkitchen.adit ssh-ed25519 HHHH\n');
});
