// OSC 52: a program on the device puts text on the clipboard. It may write, after a person allowed it for that device;
// it may never read.

/** Longest text taken, in characters of base64: a megabyte of text. */
const MAX = Math.ceil((1 << 20) / 3) * 4;

export type Request = { kind: 'write'; text: string } | { kind: 'read' } | { kind: 'invalid' };

/** Reads the payload `selection;data`. tmux leaves the selection empty; an empty text would clear, which is refused. */
export function parseClipboard(payload: string): Request {
  const at = payload.indexOf(';');
  if (at < 0) return { kind: 'invalid' };
  const data = payload.slice(at + 1);
  if (data === '?') return { kind: 'read' };
  if (data === '' || data.length > MAX) return { kind: 'invalid' };
  try {
    const binary = atob(data);
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    return { kind: 'write', text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return { kind: 'invalid' };
  }
}
