import { expect, test } from 'vitest';
import { keyFile, lineError, proofCommand, signatureError } from './ssh-keys';

test.each([
  ['', '~/.ssh/id_ed25519'],
  ['ssh-ed25519 AAAA dan@laptop', '~/.ssh/id_ed25519'],
  ['restrict,permitopen="kitchen.adit:1883" ssh-rsa AAAA', '~/.ssh/id_rsa'],
  ['ecdsa-sha2-nistp384 AAAA', '~/.ssh/id_ecdsa'],
  ['sk-ssh-ed25519@openssh.com AAAA', '~/.ssh/id_ed25519_sk'],
  ['constructor AAAA', '~/.ssh/id_ed25519'],
])('the private key of %s is %s', (line, want) => expect(keyFile(line)).toBe(want));

test('the command signs the challenge, whatever is in it', () => {
  expect(proofCommand({ challenge: 'adit dan 1', namespace: 'adit-key@hub' }, 'ssh-rsa AAAA')).toBe(
    "printf %s 'adit dan 1' | ssh-keygen -Y sign -n 'adit-key@hub' -f ~/.ssh/id_rsa",
  );
  expect(proofCommand({ challenge: "a'; rm -rf ~; '", namespace: 'n' }, '')).toContain(`printf %s 'a'\\''; rm -rf ~; '\\''' |`);
});

test('a private key is stopped on the page', () => {
  expect(lineError('-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb')).toMatch(/private key/);
  expect(lineError('ssh-ed25519 AAAA a\nssh-ed25519 BBBB b')).toMatch(/One key/);
  expect(lineError('ssh-ed25519 AAAA a\n')).toBe('');
});

test('half a signature is told', () => {
  expect(signatureError('U1NIU0lH')).toMatch(/BEGIN/);
  expect(signatureError('-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n')).toBe('');
  expect(signatureError('')).toBe('');
});
