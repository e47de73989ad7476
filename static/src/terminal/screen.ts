// One xterm.js terminal with its addons, behind the few verbs that a pane needs.

import { FitAddon } from '@xterm/addon-fit';
import type { SearchAddon } from '@xterm/addon-search';
import { UnicodeGraphemesAddon } from '@xterm/addon-unicode-graphemes';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal, type ITheme } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import type { Choices } from '../state/choices';
import { cleanPaste } from './input';
import { parseClipboard } from './osc52';
import { adoptStyles } from './styles';

export interface ScreenEvents {
  input(data: Uint8Array): void;
  /** A key press before the terminal sees it; true takes it away. */
  press(event: KeyboardEvent): boolean;
  title(text: string): void;
  clipboard(text: string): void;
  selected(text: string): void;
  link(url: string): void;
  /** The cells have another size now, as the renderer has changed. */
  measured(): void;
}

export interface Found {
  index: number;
  count: number;
}

const PHONE_FONT = 12;
const FONT = 14;

export function fontSize(choices: Pick<Choices, 'fontSize'>): number {
  return choices.fontSize || (window.matchMedia('(max-width: 640px)').matches ? PHONE_FONT : FONT);
}

export class Screen {
  private readonly terminal: Terminal;
  private readonly fitter = new FitAddon();
  private search: SearchAddon | undefined;
  private searchLoading: Promise<void> | undefined;
  private told: ((found: Found) => void) | undefined;
  private choices: Choices;
  private replaying = 0;
  private disposed = false;

  private constructor(
    private readonly element: HTMLElement,
    private readonly events: ScreenEvents,
    choices: Choices,
  ) {
    adoptStyles();
    this.choices = choices;
    this.terminal = new Terminal({
      allowProposedApi: true,
      cursorInactiveStyle: 'outline',
      fontWeightBold: '700',
      lineHeight: 1.2,
      macOptionIsMeta: true,
      overviewRuler: { width: 10 },
      linkHandler: { activate: (event, url) => this.follow(event, url, true) },
    });
    this.apply(choices);
    this.terminal.loadAddon(this.fitter);
    this.terminal.loadAddon(new UnicodeGraphemesAddon());
    this.terminal.loadAddon(new WebLinksAddon((event, url) => this.follow(event, url, false)));
    this.listen();
  }

  /** Makes a terminal inside an element, once its font is there, so that the first measurement is right. */
  static async open(element: HTMLElement, events: ScreenEvents, choices: Choices): Promise<Screen> {
    const wanted = document.fonts.load(`400 14px ${choices.fontFamily || 'JetBrains Mono'}`).catch(() => []);
    await Promise.race([wanted, new Promise((resolve) => setTimeout(resolve, 1000))]);
    const screen = new Screen(element, events, choices);
    screen.terminal.open(element);
    void screen.accelerate();
    return screen;
  }

  /** Draws bytes. Old ones are drawn without answering what they ask. */
  write(data: Uint8Array, old: boolean, done: () => void): void {
    if (old) this.replaying++;
    this.terminal.write(data, () => {
      if (old) this.replaying--;
      done();
    });
  }

  /** Takes the size of its element, in letters that suit the window; undefined while the element has none. */
  fit(): { cols: number; rows: number } | undefined {
    if (this.disposed || this.element.clientWidth < 20 || this.element.clientHeight < 20) return undefined;
    this.terminal.options.fontSize = fontSize(this.choices);
    this.fitter.fit();
    return { cols: this.terminal.cols, rows: this.terminal.rows };
  }

  apply(choices: Choices): void {
    this.choices = choices;
    const style = getComputedStyle(this.element);
    const stack = style.getPropertyValue('--mono');
    Object.assign(this.terminal.options, {
      cursorBlink: choices.cursorBlink && !window.matchMedia('(prefers-reduced-motion: reduce)').matches,
      fontFamily: choices.fontFamily ? `"${choices.fontFamily.replaceAll('"', '')}", ${stack}` : stack,
      fontSize: fontSize(choices),
      minimumContrastRatio: choices.minimumContrast ? 4.5 : 1,
      screenReaderMode: choices.screenReader,
      scrollback: choices.scrollback,
      theme: theme(style),
    });
  }

  focus(): void {
    this.terminal.focus();
  }

  /** The terminal's own text field, which has the focus while somebody types. */
  get field(): HTMLTextAreaElement | undefined {
    return this.terminal.textarea;
  }

  get selection(): string {
    return this.terminal.getSelection();
  }

  clearSelection(): void {
    this.terminal.clearSelection();
  }

  /** Whether a program tells pasted text from typed text, so that pasted lines run nothing by themselves. */
  get bracketed(): boolean {
    return this.terminal.modes.bracketedPasteMode;
  }

  /** Whether cursor keys are in application mode (DECCKM). */
  get application(): boolean {
    return this.terminal.modes.applicationCursorKeysMode;
  }

  paste(text: string): void {
    this.terminal.paste(cleanPaste(text));
  }

  clear(): void {
    this.terminal.reset();
  }

  /** Everything it holds, scrollback included, with wrapped lines joined. */
  text(): string {
    const buffer = this.terminal.buffer.active;
    const lines: string[] = [];
    for (let i = 0; i < buffer.length; i++) {
      const line = buffer.getLine(i);
      if (!line) continue;
      const next = buffer.getLine(i + 1);
      const text = line.translateToString(!next?.isWrapped);
      if (line.isWrapped && lines.length > 0) lines[lines.length - 1] += text;
      else lines.push(text);
    }
    return lines.join('\n').trimEnd();
  }

  /** Goes to the next or previous match. Counts come by told; a full-screen program's page is searched uncounted. */
  async find(text: string, forward: boolean, told: (found: Found) => void): Promise<boolean> {
    await (this.searchLoading ??= this.loadSearch());
    if (!this.search) return false;
    this.told = told;
    const style = getComputedStyle(this.element);
    const decorations = {
      matchBackground: style.getPropertyValue('--term-match'),
      activeMatchBackground: style.getPropertyValue('--term-match-active'),
      matchOverviewRuler: style.getPropertyValue('--term-match-active'),
      activeMatchColorOverviewRuler: style.getPropertyValue('--term-cursor'),
    };
    return forward ? this.search.findNext(text, { decorations }) : this.search.findPrevious(text, { decorations });
  }

  private async loadSearch(): Promise<void> {
    const { SearchAddon } = await import('@xterm/addon-search');
    if (this.disposed) return;
    this.search = new SearchAddon({ highlightLimit: 2000 });
    this.terminal.loadAddon(this.search);
    this.search.onDidChangeResults(({ resultIndex, resultCount }) => this.told?.({ index: resultIndex, count: resultCount }));
  }

  endFind(): void {
    this.search?.clearDecorations();
    this.clearSelection();
  }

  dispose(): void {
    this.disposed = true;
    this.terminal.dispose();
  }

  private listen(): void {
    const { terminal, events } = this;
    const encoder = new TextEncoder();
    terminal.onData((data) => events.input(encoder.encode(data)));
    terminal.onBinary((data) => events.input(Uint8Array.from(data, (char) => char.charCodeAt(0))));
    terminal.onTitleChange((title) => events.title(title));
    terminal.onSelectionChange(() => events.selected(terminal.getSelection()));
    terminal.attachCustomKeyEventHandler((event) => event.type !== 'keydown' || !events.press(event));
    terminal.parser.registerOscHandler(52, (payload) => this.clipboard(payload));
    this.muteReplays();
  }

  /** While old output is drawn, requests for reports are taken away: their answers would be typed into the shell. */
  private muteReplays(): void {
    const mute = () => this.replaying > 0;
    const { parser } = this.terminal;
    for (const id of [
      { final: 'c' }, { prefix: '>', final: 'c' }, { prefix: '=', final: 'c' }, { final: 'n' }, { prefix: '?', final: 'n' },
      { intermediates: '$', final: 'p' }, { prefix: '?', intermediates: '$', final: 'p' }, { prefix: '>', final: 'q' }, { final: 't' },
    ]) parser.registerCsiHandler(id, mute);
    parser.registerDcsHandler({ intermediates: '$', final: 'q' }, mute);
    for (const code of [4, 10, 11, 12]) parser.registerOscHandler(code, (payload) => mute() && payload.includes('?'));
  }

  private clipboard(payload: string): boolean {
    const request = parseClipboard(payload);
    if (request.kind === 'write' && this.replaying === 0) this.events.clipboard(request.text);
    return true;
  }

  /** Links open with Ctrl (or Cmd); one whose text may differ from its address is shown to the person first. */
  private follow(event: MouseEvent, url: string, disguised: boolean): void {
    if (!/^https?:\/\//i.test(url) || !(event.ctrlKey || event.metaKey)) return;
    if (disguised) this.events.link(url);
    else window.open(url, '_blank', 'noopener');
  }

  /** Draws by WebGL where that works; the DOM draws until then, and again when the context is lost. */
  private async accelerate(): Promise<void> {
    try {
      const { WebglAddon } = await import('@xterm/addon-webgl');
      if (this.disposed) return;
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => {
        webgl.dispose();
        this.events.measured();
      });
      this.terminal.loadAddon(webgl);
      this.events.measured();
    } catch {
      // No WebGL here. The DOM renderer is slower and looks the same.
    }
  }
}

function theme(style: CSSStyleDeclaration): ITheme {
  const token = (name: string) => style.getPropertyValue(`--term-${name}`).trim();
  const colours = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
  const ansi = Object.fromEntries(
    colours.flatMap((name) => [[name, token(name)], [`bright${name[0]!.toUpperCase()}${name.slice(1)}`, token(`bright-${name}`)]]),
  );
  return {
    ...ansi,
    background: token('bg'),
    foreground: token('fg'),
    cursor: token('cursor'),
    cursorAccent: token('cursor-text'),
    selectionBackground: token('selection'),
    scrollbarSliderBackground: `${token('muted')}40`,
    scrollbarSliderHoverBackground: `${token('muted')}66`,
    scrollbarSliderActiveBackground: `${token('muted')}80`,
    overviewRulerBorder: token('bg'),
  };
}
