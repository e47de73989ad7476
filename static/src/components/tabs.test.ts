import { expect, test } from 'vitest';
import { moved } from './tabs';

test.each([
  ['ArrowRight', 0, 1], ['ArrowRight', 2, 0], ['ArrowLeft', 0, 2], ['ArrowLeft', 2, 1], ['Home', 2, 0], ['End', 0, 2], ['Tab', 1, undefined], ['a', 1, undefined],
])('%s at %s of 3', (key, at, want) => expect(moved(key, at, 3)).toBe(want));
