// The console's search field: text, /a regular expression/, or an MQTT filter.

import { hasWildcard, matches } from './topics';

export interface Search {
  kind: 'none' | 'text' | 'regex' | 'filter';
  /** Why nothing can be found; empty where something can. */
  error: string;
  /** Whether a message is wanted. Its text is only made where the topic does not decide. */
  test(topic: string, payload: () => string): boolean;
}

export function search(query: string): Search {
  const text = query.trim();
  if (text === '') return { kind: 'none', error: '', test: () => true };
  const pattern = /^\/(.+)\/([imsu]*)$/.exec(text);
  if (pattern) return byRegex(pattern[1]!, pattern[2]!);
  if (hasWildcard(text)) return { kind: 'filter', error: '', test: (topic) => matches(text, topic) };
  const wanted = text.toLowerCase();
  return { kind: 'text', error: '', test: (topic, payload) => topic.toLowerCase().includes(wanted) || payload().toLowerCase().includes(wanted) };
}

function byRegex(source: string, flags: string): Search {
  try {
    const regex = new RegExp(source, flags);
    return { kind: 'regex', error: '', test: (topic, payload) => regex.test(topic) || regex.test(payload()) };
  } catch (error) {
    return { kind: 'regex', error: `Not a regular expression: ${(error as Error).message.replace(/^.*?: (?=[^:]*$)/, '')}`, test: () => false };
  }
}
