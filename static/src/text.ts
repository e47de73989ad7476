// Words for times, sizes and names. Everything that a device says is text from a stranger and passes `plain`.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

/** Removes control and bidirectional characters, which could hide or reorder what a person reads. */
export function plain(text: string | undefined): string {
  return (text ?? '').replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, '');
}

/** "now", "12 s", "4 min", "3 h", "41 d" for a span in seconds. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < MINUTE) return `${s} s`;
  if (s < HOUR) return `${Math.floor(s / MINUTE)} min`;
  if (s < 2 * DAY) return `${Math.floor(s / HOUR)} h`;
  return `${Math.floor(s / DAY)} d`;
}

/** How long ago, short: "now" below ten seconds. */
export function ago(time: string | undefined, now: number): string {
  if (!time) return 'never';
  const seconds = (now - Date.parse(time)) / 1000;
  return seconds < 10 ? 'now' : `${span(seconds)} ago`;
}

/** The moment itself, for a title and for copying. */
export function absolute(time: string | undefined): string {
  if (!time) return '';
  return new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

export function clock(time: string | number, seconds = false): string {
  return new Date(time).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined, hourCycle: 'h23' });
}

/** What is left: "14 min", then "0:59" in the last minute. The page's clock is up to a second old: that rounds no minute up. */
export function left(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  if (seconds > MINUTE) {
    return seconds > 2 * HOUR ? span(seconds) : `${Math.ceil((seconds - 1) / MINUTE)} min`;
  }
  return `${Math.floor(seconds / MINUTE)}:${String(seconds % MINUTE).padStart(2, '0')}`;
}

/** Minutes at which a countdown speaks up for a screen reader. */
export function announcement(milliseconds: number): string {
  const minutes = Math.ceil(milliseconds / 60_000);
  if (milliseconds <= 0) return 'The command has expired.';
  if (minutes <= 1) return 'The command expires in one minute.';
  if (minutes <= 5) return 'The command expires in five minutes.';
  return '';
}

export function bytes(count: number | undefined): string {
  if (count === undefined) return '';
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A clock's error in words, where it matters (above a minute). */
export function clockError(offset_ms: number | undefined): string {
  if (offset_ms === undefined || Math.abs(offset_ms) < 60_000) return '';
  return `${span(Math.abs(offset_ms) / 1000)} ${offset_ms > 0 ? 'ahead' : 'behind'}`;
}

const namePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function isDeviceName(name: string): boolean {
  return namePattern.test(name);
}

/** Splits what was typed into tags: by commas and spaces, each once. */
export function tagsOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}

/** Quotes a word for a POSIX shell, only where it must. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
