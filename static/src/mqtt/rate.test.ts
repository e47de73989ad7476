import { expect, test } from 'vitest';
import { Rate } from './rate';

test('counts whole seconds, and forgets', () => {
  const rate = new Rate(2);
  rate.add(100, 1000);
  rate.add(20, 1999);
  rate.add(7, 2500);
  expect(rate.at(2600)).toBe(60);
  expect(rate.at(3100)).toBe(63.5);
  expect(rate.at(9000)).toBe(0);
});
