import { expect, test } from 'vitest';
import { privateHost } from './private';

const hostOf = (url: string) => new URL(url).hostname;

test.each(['http://localhost:8080', 'http://hub.localhost', 'http://127.0.0.1', 'http://10.1.2.3', 'http://172.31.0.1', 'http://192.168.1.5:1', 'http://169.254.1.1', 'http://100.64.0.1', 'http://[::1]:80', 'http://[fd00::1]', 'http://[fe80::1]', 'http://kitchen', 'http://hub.local', 'http://hub.lan'])(
  '%s is private',
  (url) => expect(privateHost(hostOf(url))).toBe(true),
);

test.each(['https://hub.example.com', 'http://172.32.0.1', 'http://100.128.0.1', 'http://11.0.0.1', 'http://[2001:db8::1]', 'https://localhost.example.com', 'https://fd00.example.com'])('%s is not', (url) =>
  expect(privateHost(hostOf(url))).toBe(false),
);
