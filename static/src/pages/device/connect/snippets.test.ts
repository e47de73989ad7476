import { describe, expect, test } from 'vitest';
import type { Device } from '../../../api';
import { past } from './grants';
import {
  at, dialHost, exampleTarget, forMQTT, forward, forwardHelp, inventory, localPort, offersPort, ordered, tabsFor, targetOf, withAdit, withConfig,
} from './snippets';

function device(more: Partial<Device> = {}): Device {
  return {
    id: 'dev_1', name: 'kitchen', status: 'active', online: true, via: 'agent', tags: [], created_at: '2026-01-01T00:00:00Z',
    logins: ['*'], targets: ['*'], held_logins: [], gate_ends_ssh: false, may_manage: true, default_login: 'pi', ...more,
  };
}
const lines = (list: { line: string }[]) => list.map(({ line }) => line);

test.each([[80, 8080], [443, 8443], [22, 8022], [1883, 11883], [60000, 60000]])('port %s is reached at %s', (port, local) => {
  expect(localPort(port)).toBe(local);
});

test('a service that listens everywhere is dialled on loopback', () => {
  expect(['0.0.0.0', '::', undefined, '127.0.0.1', '192.168.1.5'].map(dialHost)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1', '127.0.0.1', '192.168.1.5']);
});

test('forward', () => {
  expect(forward(device(), targetOf({ port: 1883, address: '0.0.0.0' }))).toBe('adit forward kitchen 11883:127.0.0.1:1883');
  expect(forward(device(), targetOf({ port: 80, address: '::1' }))).toBe('adit forward kitchen 8080:[::1]:80');
  expect(forward(device(), 'mqtt')).toBe('adit forward kitchen mqtt');
});

test('a login stands where there is one to assume', () => {
  expect(at(device())).toBe('pi@kitchen');
  expect(at(device({ default_login: undefined as never }), '.adit')).toBe('kitchen.adit');
  expect(at(device({ logins: ['ada'] }), '.adit')).toBe('ada@kitchen.adit');
});

describe('what the grants leave open', () => {
  const names = (more: Partial<Device>) => tabsFor(device(more)).map(([tab]) => tab);
  test('everything', () => expect(names({})).toEqual(['adit', 'config', 'alone', 'mqtt', 'editor', 'ansible']));
  test('a shell only', () => expect(names({ targets: ['ssh'], logins: ['pi'] })).toEqual(['adit', 'config', 'alone', 'editor', 'ansible']));
  test('a shell through the hub', () => expect(tabsFor(past(device({ targets: ['ssh'], logins: ['pi'], held_logins: ['pi'] }))).map(([name]) => name)).toEqual(['alone']));
  test('a shell past it too', () => expect(tabsFor(past(device({ targets: ['ssh'], logins: ['pi', 'root'], held_logins: ['root'] }))).map(([name]) => name)).toEqual(['adit', 'config', 'alone', 'editor', 'ansible']));
  test('one port only', () => expect(names({ targets: ['tcp:127.0.0.1:1883'], logins: [] })).toEqual(['adit', 'alone', 'mqtt']));
  test('nothing', () => expect(names({ targets: [], logins: [] })).toEqual([]));
});

describe('with adit', () => {
  test('a shell, a file and a port', () => {
    const services = [{ port: 22, protocol: 'ssh' as const }, { port: 8123, protocol: 'http' as const, address: '0.0.0.0' }];
    expect(lines(withAdit(device({ facts: { services } }), 'https://hub.example'))).toEqual([
      'adit login https://hub.example', 'adit ssh pi@kitchen', 'adit cp FILE pi@kitchen:', 'adit forward kitchen 18123:127.0.0.1:8123',
    ]);
  });
  test('no shell without a grant of it, and the port that is granted', () => {
    expect(lines(withAdit(device({ targets: ['tcp:192.168.1.10:80'], logins: [] }), 'https://hub.example'))).toEqual([
      'adit login https://hub.example', 'adit forward kitchen 8080:192.168.1.10:80',
    ]);
  });
  test('of a device without the agent, what it offers', () => {
    expect(exampleTarget(device({ via: 'openssh', offers: ['ssh', 'tcp:127.0.0.1:1883'] }))).toBe('tcp:127.0.0.1:1883');
    expect(exampleTarget(device({ via: 'openssh', offers: ['ssh'] }))).toBeUndefined();
  });
});

test('stock tools by the configuration of adit', () => {
  expect(lines(withConfig(device()))).toEqual(['adit ssh-config', 'ssh pi@kitchen.adit', 'scp FILE pi@kitchen.adit:', 'rsync -a DIR/ pi@kitchen.adit:DIR/']);
});

describe('MQTT', () => {
  test('through the gate, by adit, and the client', () => {
    expect(lines(forMQTT(device()))).toEqual([
      'ssh -N -L 22883:kitchen.adit:1883 hub', 'adit forward kitchen 22883:127.0.0.1:1883',
      "mosquitto_sub -h 127.0.0.1 -p 22883 -t 'test/#'", 'mosquitto_pub -h 127.0.0.1 -p 22883 -t test/hello -m hello',
    ]);
  });
  test('at the port that the device reports, by the name that is granted', () => {
    const facts = { services: [{ port: 1884, protocol: 'mqtt' as const }] };
    expect(lines(forMQTT(device({ facts, targets: ['mqtt'] }))).slice(0, 2)).toEqual(['ssh -N -L 22883:kitchen.adit:1884 hub', 'adit forward kitchen 22883:mqtt']);
  });
  test('a device without the agent reaches only what it forwards', () => {
    expect(offersPort(device(), 1883)).toBe(true);
    expect(offersPort(device({ via: 'openssh', offers: ['ssh'] }), 1883)).toBe(false);
    expect(offersPort(device({ via: 'openssh', offers: ['tcp:127.0.0.1:1883'] }), 1883)).toBe(true);
    expect(offersPort(device({ via: 'openssh', offers: ['tcp:127.0.0.1:11883'] }), 1883)).toBe(false);
  });
});

test('inventory', () => {
  expect(inventory(device())).toContain('\nkitchen ansible_host=kitchen.adit ansible_user=pi\n');
  expect(inventory(device({ default_login: '' }))).toContain('\nkitchen ansible_host=kitchen.adit\n');
});

describe('which forward', () => {
  test('through the device’s SSH server', () => {
    expect(lines(forwardHelp(device()))).toEqual([
      'ssh -N -L 8080:127.0.0.1:80 pi@kitchen.adit', 'ssh -N -R 9000:127.0.0.1:3000 pi@kitchen.adit', 'ssh -N -D 1080 pi@kitchen.adit',
    ]);
  });
  test('through the hub alone, where no shell is granted', () => {
    expect(lines(forwardHelp(device({ targets: ['mqtt'], logins: [] })))).toEqual(['ssh -N -L 11883:kitchen.adit:1883 hub']);
  });
});

test('a service that is reported twice stands once', () => {
  const services = [{ port: 80, protocol: 'http' as const }, { port: 22, protocol: 'ssh' as const }, { port: 80, protocol: 'http' as const }];
  expect(ordered(services).map((s) => s.port)).toEqual([22, 80]);
});
