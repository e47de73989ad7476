import { describe, expect, test } from 'vitest';
import { search } from './search';
import { filterError, hasWildcard, isUnder, matches, topicError } from './topics';

describe('search', () => {
  test.each([
    ['', 'none', 'a', '', true], ['Temp', 'text', 'home/temp', '', true], ['21.4', 'text', 'home/temp', '{"v":21.4}', true], ['x', 'text', 'home', 'y', false],
    ['/t.mp$/', 'regex', 'home/temp', '', true], ['/T.MP/i', 'regex', 'home/temp', '', true], ['/^on$/', 'regex', 'home/lamp', 'on', true],
    ['home/+', 'filter', 'home/temp', '', true], ['home/+', 'filter', 'home/a/b', '', false], ['home/#', 'filter', 'home', '', true],
    ['1+1', 'text', 'sum', '1+1=2', true], ['/home/kitchen', 'text', '/home/kitchen/x', '', true],
  ])('%s', (query, kind, topic, payload, found) => {
    const compiled = search(query);
    expect([compiled.kind, compiled.error, compiled.test(topic, () => payload)]).toEqual([kind, '', found]);
  });

  test('says what is wrong with a regular expression, and finds nothing', () => {
    const compiled = search('/(/');
    expect(compiled.error).toMatch(/^Not a regular expression: /);
    expect(compiled.test('(', () => '')).toBe(false);
  });

  test('makes no text where the topic decides', () => {
    const never = () => {
      throw new Error('made');
    };
    expect(search('temp').test('home/temp', never)).toBe(true);
    expect(search('home/#').test('work', never)).toBe(false);
  });
});

describe('topics', () => {
  test.each([
    ['#', 'a/b', true], ['#', '$SYS/x', false], ['+/x', '$SYS/x', false], ['$SYS/#', '$SYS/x', true], ['a/#', 'a', true], ['a/+', 'a', false],
    ['a/+/c', 'a/b/c', true], ['+', 'a', true], ['/+', '/a', true], ['+', '/a', false], ['a//c', 'a//c', true], ['a/b', 'a/b/c', false], ['a/b/c', 'a/b', false],
  ])('%s of %s: %s', (filter, topic, want) => expect(matches(filter, topic)).toBe(want));

  test.each([['#', true], ['a/+/b', true], ['a/#/b', false], ['a#', false], ['a+/b', false], ['', false], [`${'a'.repeat(1025)}`, false]])('filter %s', (filter, good) => {
    expect(filterError(filter) === '').toBe(good);
  });

  test.each([['a/b', true], ['', false], ['a/+', false], ['a\0', false], ['ü'.repeat(32_768), false]])('topic %s', (topic, good) => expect(topicError(topic) === '').toBe(good));

  test('what was meant as a filter', () => expect(['a/#', 'a+b', 'a/b'].map(hasWildcard)).toEqual([true, false, false]));
  test('what is below', () => expect([isUnder('a/b', 'a'), isUnder('ab', 'a'), isUnder('a', 'a')]).toEqual([true, false, true]));
});
