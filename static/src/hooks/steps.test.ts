import { expect, test } from 'vitest';
import { stepsOf } from './steps';

const texts = (verify: Parameters<typeof stepsOf>[0]) => stepsOf(verify).map(({ text }) => text).join('\n');

test('the steps name what the source asks for', () => {
  expect(texts({ kind: 'basic', username: 'a$&b' })).toContain('Sign in as a$&b, with this password');
  expect(texts({ kind: 'hmac', header: 'X-Door' })).toContain('into the header X-Door');
});
