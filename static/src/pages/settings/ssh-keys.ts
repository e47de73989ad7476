// Adding an SSH public key: what was pasted, and the command that proves that its private half is at hand.

import type { SSHGate } from '../../api';

/** Where ssh-keygen leaves a key of each type. */
const files: Record<string, string> = {
  'ssh-ed25519': 'id_ed25519',
  'ssh-rsa': 'id_rsa',
  'ecdsa-sha2-nistp256': 'id_ecdsa',
  'ecdsa-sha2-nistp384': 'id_ecdsa',
  'ecdsa-sha2-nistp521': 'id_ecdsa',
  'sk-ssh-ed25519@openssh.com': 'id_ed25519_sk',
  'sk-ecdsa-sha2-nistp256@openssh.com': 'id_ecdsa_sk',
};

/** The usual file of the private key for a line of authorized_keys. */
export function keyFile(line: string): string {
  const type = line.split(/\s+/).find((word) => Object.hasOwn(files, word));
  return `~/.ssh/${files[type ?? 'ssh-ed25519']}`;
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Signs the challenge. printf writes no line end, so that exactly the challenge is signed. */
export function proofCommand(gate: Pick<SSHGate, 'challenge' | 'namespace'>, line: string): string {
  return `printf %s ${quoted(gate.challenge)} | ssh-keygen -Y sign -n ${quoted(gate.namespace)} -f ${keyFile(line)}`;
}

/** What is wrong with a pasted line that the page can tell at once; above all, a private key is never sent. */
export function lineError(line: string): string {
  if (/PRIVATE KEY/.test(line)) return 'This is a private key. It stays where it is; paste the line of the file beside it that ends in .pub.';
  if (line.trim().includes('\n')) return 'One key at a time: this has several lines.';
  return '';
}

/** What is wrong with a pasted signature that the page can tell at once. */
export function signatureError(text: string): string {
  if (!text.trim() || /-----BEGIN SSH SIGNATURE-----[\s\S]+-----END SSH SIGNATURE-----/.test(text)) return '';
  return 'Paste all that the command printed, from -----BEGIN SSH SIGNATURE----- to -----END SSH SIGNATURE-----.';
}

/** The option words that the hub honours; any other is refused, never ignored. */
export const honoured = ['from=', 'permitopen=', 'no-pty', 'no-port-forwarding', 'expiry-time=', 'restrict', 'pty', 'port-forwarding'];
