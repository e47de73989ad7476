// Topic names and filters (MQTT 5.0 §4.7).

/** What is wrong with a filter, empty where nothing is. */
export function filterError(filter: string): string {
  if (filter === '') return 'A filter has at least one character.';
  if (new TextEncoder().encode(filter).length > 1024) return 'A filter has at most 1,024 bytes.';
  const levels = filter.split('/');
  if (levels.some((level, i) => level.includes('#') && (level !== '#' || i < levels.length - 1))) return '# stands alone, as the last level: home/#';
  if (levels.some((level) => level.includes('+') && level !== '+')) return '+ stands for a whole level: home/+/temp';
  return '';
}

/** What is wrong with a name to publish to, empty where nothing is. */
export function topicError(topic: string): string {
  if (topic === '') return 'A topic has at least one character.';
  if (/[+#]/.test(topic)) return 'A message goes to one topic: + and # are for filters.';
  if (topic.includes('\0')) return 'A topic has no NUL character.';
  return new TextEncoder().encode(topic).length > 65_535 ? 'A topic has at most 65,535 bytes.' : '';
}

/** Whether a filter with wildcards was meant, and not just text with a plus in it. */
export function hasWildcard(text: string): boolean {
  return filterError(text) === '' && text.split('/').some((level) => level === '#' || level === '+');
}

/** Whether a topic name matches a filter. A wildcard at the front does not match names that begin with $ (§4.7.2). */
export function matches(filter: string, topic: string): boolean {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false;
  for (const [i, level] of wanted.entries()) {
    if (level === '#') return true;
    if (i >= levels.length || (level !== '+' && level !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

/** Whether a topic is another one or below it. */
export function isUnder(topic: string, path: string): boolean {
  return topic === path || topic.startsWith(`${path}/`);
}
