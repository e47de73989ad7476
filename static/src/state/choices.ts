// What a person can choose for this browser, and how it is read back.

export interface Choices {
  theme: 'auto' | 'light' | 'dark';
  density: 'normal' | 'dense';
  letterKeys: boolean;
  terminalTheme: 'auto' | 'graphite' | 'paper' | 'contrast';
  /** Terminal font size in px; 0 picks 14, or 12 on a phone. */
  fontSize: number;
  fontFamily: string;
  cursorBlink: boolean;
  copyOnSelect: boolean;
  minimumContrast: boolean;
  screenReader: boolean;
  leaveKey: 'Ctrl+F6' | 'Ctrl+Shift+F6' | 'Alt+F6';
  scrollback: number;
}

export const defaults: Choices = {
  theme: 'auto',
  density: 'normal',
  letterKeys: true,
  terminalTheme: 'auto',
  fontSize: 0,
  fontFamily: '',
  cursorBlink: true,
  copyOnSelect: false,
  minimumContrast: true,
  screenReader: false,
  leaveKey: 'Ctrl+F6',
  scrollback: 5000,
};

/** What was stored, with a default for whatever is missing or of another kind. */
export function restore(text: string | null): Choices {
  let stored: Record<string, unknown> = {};
  try {
    stored = (JSON.parse(text ?? '{}') as Record<string, unknown> | null) ?? {};
  } catch {
    // Somebody else wrote there; the defaults are as good as a first visit.
  }
  const kept = Object.entries(defaults).map(([name, value]) => [name, typeof stored[name] === typeof value ? stored[name] : value]);
  return Object.fromEntries(kept) as unknown as Choices;
}
