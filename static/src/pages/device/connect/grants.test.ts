import { describe, expect, test } from 'vitest';
import { covers, loginOf, mayForward, maySSH } from './grants';

describe('covers', () => {
  test.each([
    ['*', 'ssh', true], ['*', 'tcp:127.0.0.1:80', true], ['ssh', 'ssh', true], ['ssh', 'mqtt', false], ['tcp:*', 'ssh', false],
    ['tcp:*', 'tcp:[::1]:80', true], ['tcp:127.0.0.1:80', 'tcp:127.0.0.1:80', true], ['tcp:127.0.0.1:80', 'tcp:127.0.0.1:81', false],
    ['tcp:*:80', 'tcp:10.0.0.1:80', true], ['tcp:127.0.0.1:*', 'tcp:127.0.0.1:9', true], ['tcp:[::1]:*', 'tcp:[::1]:22', true],
    ['tcp:127.0.0.1:*', 'tcp:*:*', false], ['tcp:*', 'tcp:*:*', true],
  ])('%s, %s: %s', (pattern, target, want) => expect(covers([pattern], target)).toBe(want));
  test('nothing covers nothing', () => expect(covers([], 'ssh')).toBe(false));
});

test('ssh takes a target and a login', () => {
  expect(maySSH({ targets: ['ssh'], logins: ['pi'] })).toBe(true);
  expect(maySSH({ targets: ['ssh'], logins: [] })).toBe(false);
  expect(maySSH({ targets: ['mqtt'], logins: ['pi'] })).toBe(false);
});

test('forwards through sshd take every address', () => {
  expect(mayForward({ targets: ['ssh', 'tcp:127.0.0.1:*'], logins: [] })).toBe(false);
  expect(mayForward({ targets: ['tcp:*'], logins: [] })).toBe(true);
});

test.each([
  [['*'], 'pi', 'pi'], [['*'], undefined, ''], [['pi', 'root'], 'root', 'root'], [['ada'], 'pi', 'ada'], [['ada'], undefined, 'ada'], [[], undefined, ''],
])('login of %j with default %s is %s', (logins, default_login, want) => {
  expect(loginOf({ logins, ...(default_login ? { default_login } : {}) })).toBe(want);
});
