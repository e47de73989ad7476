/**
 * Reads the secret of a one-time link from the address bar's fragment and takes it out at once, so that it stays in
 * no history entry, bookmark or screenshot.
 */
export function takeSecret(): string {
  const secret = window.location.hash.slice(1);
  if (secret) history.replaceState(null, '', window.location.pathname + window.location.search);
  return secret;
}
