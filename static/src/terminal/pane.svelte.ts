// A pane's terminal, its connection, and what a person must be told or asked, as state for the views.

import { copyText } from '../copy';
import { asProblem, Problem } from '../problem';
import { fleet } from '../state/fleet.svelte';
import { settings } from '../state/settings.svelte';
import { shells } from '../state/shells.svelte';
import { toasts } from '../state/toasts.svelte';
import { workspace, type Pane } from '../state/workspace.svelte';
import { plain } from '../text';
import { attachURL, Connection, type Link } from './connection';
import { letCopy, mayCopy } from './consent';
import { isManyLines, sequence, withModifiers, type BarKey } from './input';
import type { Status } from './protocol';
import { fontSize, Screen } from './screen';

/** Something that waits for a person's answer, in the bar at the foot of the pane. */
export interface Question {
  text: string;
  yes: string;
  no: string;
  answer: (yes: boolean) => void;
}

const TITLE = 80;

export class PaneState {
  link = $state.raw<Link>({ state: 'connecting', since: 0, retryAt: 0, close: 0, reason: '' });
  status = $state.raw<Status>();
  problem = $state.raw<Problem>();
  question = $state.raw<Question>();
  held = $state('');
  missed = $state(0);
  shell = $state('');
  title = $state('');
  size = $state.raw<{ cols: number; rows: number }>();
  searching = $state(false);
  composing = $state(false);
  reading = $state<string>();
  control = $state(false);
  alt = $state(false);

  screen: Screen | undefined;
  private connection: Connection | undefined;
  private readonly encoder = new TextEncoder();
  private readonly decoder = new TextDecoder();
  private gone = false;

  constructor(
    readonly pane: Pane,
    private readonly press: (event: KeyboardEvent, state: PaneState) => boolean,
  ) {}

  /** Makes the terminal in its element and opens the shell, or attaches to the one it had. */
  async start(element: HTMLElement): Promise<void> {
    const screen = await Screen.open(
      element,
      {
        input: (data) => this.input(data),
        press: (event) => this.press(event, this),
        title: (text) => (this.title = plain(text).slice(0, TITLE)),
        clipboard: (text) => this.offer(text),
        selected: (text) => settings.choices.copyOnSelect && text && void copyText(text),
        measured: () => this.fit(),
        link: (url) => toasts.show(url, 'done', { label: 'Open', run: () => window.open(url, '_blank', 'noopener') }),
      },
      settings.choices,
    );
    if (this.gone) return screen.dispose();
    this.screen = screen;
    this.fit();
    if (this.pane.shell) this.attach(this.pane.shell, false);
    else await this.open();
  }

  /** Opens a shell on the device: at first, and again after one has ended or could not be opened. */
  async open(): Promise<void> {
    this.connection?.stop();
    this.connection = undefined;
    this.problem = undefined;
    this.status = undefined;
    this.link = { state: 'connecting', since: 0, retryAt: 0, close: 0, reason: '' };
    try {
      const shell = await shells.open(this.pane.deviceId, this.pane.login, this.size ?? { cols: 80, rows: 24 }, this.pane.rescue);
      if (this.gone) return void shells.close(shell.id);
      workspace.bind(this.pane.id, shell.id);
      this.screen?.clear();
      this.attach(shell.id, true);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  reconnect(): void {
    this.connection?.reconnect();
  }

  /** The hub or the network is back, as somebody else noticed. */
  nudge(): void {
    this.connection?.now();
  }

  decideHeld(send: boolean): void {
    this.connection?.decide(send);
  }

  fit(): void {
    const size = this.screen?.fit();
    if (!size) return;
    this.size = size;
    this.connection?.resize(size.cols, size.rows);
  }

  restyle(): void {
    this.screen?.apply(settings.choices);
    this.fit();
  }

  zoom(by: number): void {
    settings.set('fontSize', by === 0 ? 0 : Math.max(8, Math.min(32, fontSize(settings.choices) + by)));
  }

  /** A key of the key bar. */
  key(key: BarKey): void {
    this.send(sequence(key, this.screen?.application ?? false, this.control, this.alt));
    this.control = this.alt = false;
  }

  send(text: string): void {
    if (this.connection && !this.connection.type(this.encoder.encode(text))) this.full();
  }

  /** Pastes; several lines that the program would run one by one are shown first. */
  paste(text: string): void {
    if (!text) return;
    if (!isManyLines(text) || this.screen?.bracketed) return this.screen?.paste(text);
    const lines = text.trim().split(/\r?\n/).length;
    this.question = {
      text: `Paste ${lines} lines? Each runs as soon as it arrives.`,
      yes: 'Paste',
      no: 'Do not paste',
      answer: (yes) => yes && this.screen?.paste(text),
    };
  }

  async pasteFromClipboard(): Promise<void> {
    try {
      this.paste(await navigator.clipboard.readText());
    } catch {
      toasts.show('This browser does not let the page read the clipboard. Use Ctrl+V, or the compose bar.', 'failed');
    }
  }

  async copy(): Promise<void> {
    const text = this.screen?.selection ?? '';
    if (!text) return toasts.show('Nothing is selected.');
    if (!(await copyText(text))) toasts.show('This browser did not let the page copy.', 'failed');
  }

  /** Shows the field for composing, or gives the keyboard back to the terminal. */
  toggleCompose(): void {
    this.composing = !this.composing;
    if (!this.composing) this.screen?.focus();
  }

  answer(yes: boolean): void {
    const question = this.question;
    this.question = undefined;
    question?.answer(yes);
    this.screen?.focus();
  }

  stop(): void {
    this.gone = true;
    this.connection?.stop();
    this.screen?.dispose();
  }

  private attach(shell: string, fresh: boolean): void {
    this.shell = shell;
    this.connection = new Connection(
      attachURL(shell),
      {
        output: (data, old, done) => (this.screen ? this.screen.write(data, old, done) : done()),
        missed: (bytes) => {
          this.missed = bytes;
          this.screen?.clear();
        },
        status: (status) => (this.status = status),
        link: (link) => (this.link = link),
        held: (keys, asks) => this.hold(keys, asks),
      },
      fresh,
    );
    if (this.size) this.connection.resize(this.size.cols, this.size.rows);
  }

  private input(data: Uint8Array): void {
    if (!this.control && !this.alt) {
      if (this.connection && !this.connection.type(data)) this.full();
      return;
    }
    this.send(withModifiers(this.decoder.decode(data), this.control, this.alt));
    this.control = this.alt = false;
  }

  private full(): void {
    if (this.link.state === 'lost') toasts.show('Not connected: what you type now is not kept.', 'failed');
  }

  private hold(keys: string, asks: boolean): void {
    this.held = keys;
    if (!asks) return;
    this.question = {
      text: `You typed ${shown(keys)} while the connection was lost. Send it now?`,
      yes: 'Send',
      no: 'Discard',
      answer: (yes) => this.decideHeld(yes),
    };
  }

  /** A program wants to put text on the clipboard: asked once for each device. */
  private offer(text: string): void {
    const device = this.pane.deviceId;
    if (mayCopy(device)) return void this.take(text);
    this.question = {
      text: `A program on ${this.deviceName} wants to put ${text.length} characters on your clipboard.`,
      yes: 'Allow this device',
      no: 'Refuse',
      answer: (yes) => {
        if (!yes) return;
        letCopy(device);
        void this.take(text);
      },
    };
  }

  private async take(text: string): Promise<void> {
    const copied = `${this.deviceName} copied ${text.length} characters.`;
    if (await copyText(text)) return toasts.show(copied);
    // Browsers want a gesture of the person; the button is one.
    toasts.show(`${this.deviceName} offers ${text.length} characters.`, 'done', { label: 'Copy', run: () => void copyText(text) });
  }

  get deviceName(): string {
    return plain(fleet.byKey(this.pane.deviceId)?.name ?? this.pane.deviceName);
  }
}

/** Typed keys made visible. */
export function shown(keys: string): string {
  const text = keys.replaceAll('\r', '⏎').replaceAll('\t', '⇥').replace(/[\u0000-\u001f\u007f]/g, '·');
  return `“${text}”`;
}
