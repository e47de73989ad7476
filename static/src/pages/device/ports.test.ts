import { expect, test } from 'vitest';
import { choicesFor, rangeOf } from './ports';

test.each([
  ['127.0.0.1:20000-20999', { address: '127.0.0.1', everywhere: false, first: 20000, last: 20999 }],
  ['0.0.0.0:20000-20000', { address: '0.0.0.0', everywhere: true, first: 20000, last: 20000 }],
  ['[::]:1-2', { address: '::', everywhere: true, first: 1, last: 2 }],
  ['nonsense', undefined], [undefined, undefined], ['', undefined],
])('range %s', (text, want) => expect(rangeOf(text)).toEqual(want));

test('choices are what runs there and has no port yet', () => {
  const facts = { services: [{ port: 22, protocol: 'ssh' as const }, { port: 1883, protocol: 'mqtt' as const, address: '0.0.0.0' }] };
  expect(choicesFor({ via: 'agent', facts }, [{ target: 'ssh' }])).toEqual(['mqtt', 'http', 'tcp:127.0.0.1:1883']);
});

test('a device without the agent has what it forwards', () => {
  expect(choicesFor({ via: 'openssh', offers: ['ssh', 'tcp:127.0.0.1:1883'] }, [])).toEqual(['ssh', 'tcp:127.0.0.1:1883']);
  expect(choicesFor({ via: 'openssh' }, [])).toEqual([]);
});
