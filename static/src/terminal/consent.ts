// Which devices a person lets write to the clipboard (OSC 52), remembered in this browser.

const KEY = 'adit-clipboard';

function read(): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(stored) ? stored.filter((id): id is string => typeof id === 'string') : [];
  } catch {
    return [];
  }
}

export function mayCopy(device: string): boolean {
  return read().includes(device);
}

export function letCopy(device: string): void {
  localStorage.setItem(KEY, JSON.stringify([...new Set([...read(), device])].slice(-500)));
}
