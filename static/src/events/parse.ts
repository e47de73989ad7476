// Server-sent events, parsed as they arrive (HTML standard, section 9.2.6).

export interface Message {
  id: string;
  event: string;
  data: string;
}

/** Takes text in any pieces and gives back the messages that are complete, and whether anything (also a comment) came. */
export class Parser {
  /** The id to resume at: also an empty message sets it. */
  lastId = '';
  private rest = '';
  private id = '';
  private event = '';
  private data: string[] = [];

  push(text: string): Message[] {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.line(line));
  }

  private line(line: string): Message[] {
    if (line === '') return this.dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return [];
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') this.data.push(value);
    else if (field === 'event') this.event = value;
    else if (field === 'id' && !value.includes('\0')) this.id = value;
    return [];
  }

  private dispatch(): Message[] {
    const message = { id: this.id, event: this.event || 'message', data: this.data.join('\n') };
    this.lastId = this.id;
    const empty = this.data.length === 0;
    this.event = '';
    this.data = [];
    return empty ? [] : [message];
  }
}
