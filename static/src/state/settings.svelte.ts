// A person's choices for this browser. They live in localStorage and reach the other tabs by its event.

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

const KEY = 'adit-choices';

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

class Settings {
  choices = $state<Choices>(restore(localStorage.getItem(KEY)));

  constructor() {
    this.show();
    window.addEventListener('storage', (event) => {
      if (event.key !== KEY) return;
      this.choices = restore(event.newValue);
      this.show();
    });
  }

  set<K extends keyof Choices>(name: K, value: Choices[K]): void {
    this.choices[name] = value;
    localStorage.setItem(KEY, JSON.stringify(this.choices));
    this.show();
  }

  private show(): void {
    const root = document.documentElement.dataset;
    root['theme'] = this.choices.theme;
    root['density'] = this.choices.density;
  }
}

export const settings = new Settings();
