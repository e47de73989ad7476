// Indented JSON in pieces, so that names, words and numbers can look different.

export interface Token {
  kind: 'name' | 'word' | 'number' | 'mark';
  text: string;
}

/** Beyond so many pieces a page is slower than it is pretty. */
const MOST = 2000;

/** The pieces; none where there would be too many. Together they are the text. */
export function tokens(text: string): Token[] {
  const pieces: Token[] = [];
  for (const [all, name, word, number] of text.matchAll(/("(?:[^"\\]|\\.)*"(?=:))|("(?:[^"\\]|\\.)*"?)|([-\d][\d.eE+-]*|true|false|null)|[^"\d-]+?(?=["\d-]|true|false|null|$)|[^]/g)) {
    if (pieces.length > MOST) return [];
    const kind = name !== undefined ? 'name' : word !== undefined ? 'word' : number !== undefined ? 'number' : 'mark';
    const last = pieces.at(-1);
    if (kind === 'mark' && last?.kind === 'mark') last.text += all;
    else pieces.push({ kind, text: all });
  }
  return pieces;
}
