import { expect, test } from 'vitest';
import { urlOf } from './api';

test('names of the path are filled in and escaped', () => {
  expect(urlOf('/api/v1/devices/{device}', { path: { device: 'a/b' } })).toBe('/api/v1/devices/a%2Fb');
  expect(urlOf('/api/v1/ports/{port}', { path: { port: 20001 } })).toBe('/api/v1/ports/20001');
});

test('the query holds what is given, and nothing of it where nothing is', () => {
  expect(urlOf('/api/v1/streams', { query: { device: 'a&b=c d' } })).toBe('/api/v1/streams?device=a%26b%3Dc+d');
  expect(urlOf('/api/v1/streams', { query: { device: undefined, user: '' } })).toBe('/api/v1/streams');
  expect(urlOf('/api/v1/streams', {})).toBe('/api/v1/streams');
});
