import { expect, test } from 'vitest';
import { dialHost, forward, localPort, ordered, snippets } from './snippets';

test.each([[80, 8080], [443, 8443], [22, 8022], [1883, 11883], [60000, 60000]])('port %s is reached at %s', (port, local) => {
  expect(localPort(port)).toBe(local);
});

test('a service that listens everywhere is dialled on loopback', () => {
  expect(['0.0.0.0', '::', undefined, '127.0.0.1', '192.168.1.5'].map(dialHost)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1', '127.0.0.1', '192.168.1.5']);
});

test('forward', () => {
  expect(forward({ name: 'kitchen' }, { port: 1883, address: '0.0.0.0' })).toBe('adit forward kitchen 11883:127.0.0.1:1883');
  expect(forward({ name: 'kitchen' }, { port: 80, address: '::1' })).toBe('adit forward kitchen 8080:[::1]:80');
});

test('snippets name the default login, and only where there is one', () => {
  expect(snippets({ name: 'kitchen', default_login: 'pi' })[0]!.line).toBe('adit ssh pi@kitchen');
  expect(snippets({ name: 'kitchen' })[0]!.line).toBe('adit ssh kitchen');
});

test('a service that is reported twice stands once', () => {
  const services = [{ port: 80, protocol: 'http' as const }, { port: 22, protocol: 'ssh' as const }, { port: 80, protocol: 'http' as const }];
  expect(ordered(services).map((s) => s.port)).toEqual([22, 80]);
});
