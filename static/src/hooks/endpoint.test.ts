import { expect, test } from 'vitest';
import { conditionOf, healthOf, shortURL, wantsOf } from './endpoint';

const well = { state: 'active', breaker: 'closed', delivered_24h: 3, failed_24h: 0, last_at: '2026-01-02T03:04:05Z' } as const;

test('what was stopped comes before how attempts went', () => {
  expect(conditionOf(well)).toBe('well');
  expect(conditionOf({ ...well, failing_since: '2026-01-02T03:04:05Z' })).toBe('failing');
  expect(conditionOf({ ...well, delivered_24h: 0, failed_24h: 1 })).toBe('failing'); // its transform fails: nobody was asked
  expect(conditionOf({ ...well, breaker: 'half-open', failing_since: '2026-01-02T03:04:05Z' })).toBe('resting');
  expect(conditionOf({ ...well, state: 'paused', breaker: 'open' })).toBe('paused');
  expect(conditionOf({ ...well, state: 'disabled', breaker: 'open' })).toBe('disabled');
  const { last_at, ...fresh } = well;
  expect([last_at, conditionOf(fresh)]).toEqual(['2026-01-02T03:04:05Z', 'quiet']);
});

test.each([
  [0, 0, ''],
  [5, 0, '100 %'],
  [0, 5, '0 %'],
  [982, 18, '98.2 %'],
  [99_999, 1, '99.9 %'], // 100 % would be a lie
])('%i arrived and %i failed is “%s”', (delivered_24h, failed_24h, want) => expect(healthOf({ delivered_24h, failed_24h })).toBe(want));

test('a list shows the first wants and counts the others', () => {
  expect(wantsOf({ events: ['a', 'b'], topics: ['c', 'd'] })).toEqual({ shown: ['a', 'b', 'c'], more: 1 });
  expect(wantsOf({ events: ['a'], topics: [] })).toEqual({ shown: ['a'], more: 0 });
  expect(shortURL('https://shop.example/hook/')).toBe('shop.example/hook');
});
