import { expect, test } from 'vitest';
import { freeSlug, freshID, inputOf, senderOf, senders } from './senders';
import { stepsOf } from './steps';
import { newSourceDraft, sourceErrors } from './source-draft';

test.each(senders)('$name: the form it begins with has no mistake, and its steps say where to send', (sender) => {
  expect(sourceErrors(newSourceDraft(sender.kind, sender.slug))).toEqual({});
  expect(stepsOf(sender).filter(({ shows }) => shows === 'url')).toHaveLength(1);
  expect(stepsOf(sender).some(({ shows }) => shows === 'paste')).toBe(sender.maker === 'sender');
  expect(stepsOf(sender).some(({ shows }) => shows === 'secret')).toBe(sender.maker === 'hub' || sender.maker === 'either');
});

test('a program is given what the hub gives: names of headers in small letters, and the id of the sender', () => {
  const github = senderOf('github')!;
  expect(inputOf(github, { ref: 'x' }, '7', 'garage')).toMatchObject({
    source: 'garage', method: 'POST', body: { ref: 'x' }, headers: { 'content-type': 'application/json', 'x-github-event': 'push', 'x-github-delivery': '7' },
  });
});

test('an example has another id each time', () => {
  expect(freshID()).toMatch(/^[0-9a-f]{16}$/);
  expect(freshID()).not.toBe(freshID());
});

test('an address that is taken gets a number', () => {
  expect(freeSlug('github', [])).toBe('github');
  expect(freeSlug('github', ['github', 'github-2'])).toBe('github-3');
  expect(freeSlug('', ['github'])).toBe('');
});
