// What keys mean in a terminal of ours, and what is done to text on its way in.

export type Command =
  | 'copy' | 'copy-selection' | 'paste' | 'search' | 'split-beside' | 'split-below' | 'close' | 'new' | 'leave' | 'bigger' | 'smaller' | 'normal'
  | 'pane-left' | 'pane-right' | 'pane-up' | 'pane-down' | 'tab-next' | 'tab-previous';

interface Press {
  key: string;
  code: string;
  ctrlKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
  metaKey: boolean;
}

const ctrlShift: Record<string, Command> = {
  KeyC: 'copy', KeyF: 'search', KeyD: 'split-beside', KeyE: 'split-below', KeyW: 'close', KeyT: 'new',
  ArrowLeft: 'pane-left', ArrowRight: 'pane-right', ArrowUp: 'pane-up', ArrowDown: 'pane-down',
};
const ctrl: Record<string, Command> = { '=': 'bigger', '+': 'bigger', '-': 'smaller', '0': 'normal' };

/**
 * The command behind a key press, or undefined where the key belongs to the program on the device. Ctrl+Shift+V and
 * Shift+Insert are the browser's own paste and arrive as a paste event.
 */
export function commandOf(press: Press, leaveKey: string, selected: boolean): Command | undefined {
  if (chord(press) === leaveKey) return 'leave';
  if (press.metaKey) return undefined;
  if (press.ctrlKey && press.shiftKey && !press.altKey) return ctrlShift[press.code];
  if (press.altKey && press.shiftKey && !press.ctrlKey) {
    return { ArrowRight: 'tab-next' as const, ArrowLeft: 'tab-previous' as const }[press.code];
  }
  if (!press.ctrlKey || press.altKey) return undefined;
  if (press.code === 'Insert') return 'copy';
  if (press.code === 'KeyC' && selected) return 'copy-selection';
  return ctrl[press.key];
}

function chord(press: Press): string {
  return [press.ctrlKey && 'Ctrl', press.altKey && 'Alt', press.shiftKey && 'Shift', press.key].filter(Boolean).join('+');
}

/** Line ends as a terminal expects them; control characters that could end a bracketed paste or run a key are out. */
export function cleanPaste(text: string): string {
  return text.replace(/\r?\n/g, '\r').replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, '');
}

/** Whether pasting this would run more than what a person sees on one line. */
export function isManyLines(text: string): boolean {
  return /[\r\n]/.test(text.trim());
}

/** Adds the sticky Ctrl and Alt of the key bar to one typed character. */
export function withModifiers(text: string, control: boolean, alt: boolean): string {
  let out = text;
  if (control && text.length === 1) out = controlled(text);
  return alt ? `\x1b${out}` : out;
}

function controlled(char: string): string {
  const code = char.toUpperCase().charCodeAt(0);
  if (code >= 0x40 && code <= 0x5f) return String.fromCharCode(code - 0x40);
  if (char === ' ') return '\0';
  if (char === '?') return '\x7f';
  return char;
}

export type BarKey = 'esc' | 'tab' | 'up' | 'down' | 'left' | 'right' | 'home' | 'end' | 'pageup' | 'pagedown';

const finals: Record<string, string> = { up: 'A', down: 'B', right: 'C', left: 'D', home: 'H', end: 'F' };

/** The bytes of a key of the key bar, in the mode that the program chose (DECCKM) and with the sticky modifiers. */
export function sequence(key: BarKey, application: boolean, control: boolean, alt: boolean): string {
  if (key === 'esc') return '\x1b';
  if (key === 'tab') return alt ? '\x1b\t' : '\t';
  const modifier = 1 + (alt ? 2 : 0) + (control ? 4 : 0);
  const final = finals[key];
  if (final === undefined) {
    const number = key === 'pageup' ? 5 : 6;
    return modifier === 1 ? `\x1b[${number}~` : `\x1b[${number};${modifier}~`;
  }
  if (modifier > 1) return `\x1b[1;${modifier}${final}`;
  return (application ? '\x1bO' : '\x1b[') + final;
}
