// Keys that work on every page. Single letters can be switched off (WCAG 2.1.4) and never fire while somebody types.

export type Command = 'filter' | 'keys' | 'palette' | 'go-devices' | 'go-shells' | 'go-mqtt' | 'go-webhooks' | 'go-streams' | 'go-events' | 'go-add' | 'go-settings';

interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
}

const going: Record<string, Command> = { d: 'go-devices', s: 'go-shells', m: 'go-mqtt', w: 'go-webhooks', r: 'go-streams', e: 'go-events', a: 'go-add', t: 'go-settings' };

/** Turns key presses into commands; "g d" is two presses within a second. */
export class Keys {
  private prefixAt = -Infinity;

  /** The command that this press completes. `typing` is whether a text field or a terminal has the focus. */
  press(press: Press, at: number, typing: boolean, letters: boolean): Command | undefined {
    const mod = press.ctrlKey || press.metaKey;
    const key = press.key.toLowerCase();
    if (mod && !press.altKey && (key === 'k' || (key === 'p' && press.shiftKey)) && (!typing || press.shiftKey)) return 'palette';
    if (mod || press.altKey || typing || !letters) return undefined;
    const prefixed = at - this.prefixAt < 1000;
    this.prefixAt = key === 'g' && !press.shiftKey ? at : -Infinity;
    if (prefixed) return going[key];
    return { '/': 'filter', '?': 'keys' }[press.key] as Command | undefined;
  }
}

/** Whether an element takes typed text. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
