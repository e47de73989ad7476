import { expect, test } from 'vitest';
import { hrefOf, viewOf } from './view';

const plain = { device: '', filter: '#', q: '', topic: '', message: '', tab: 'live', pane: 'message', as: '', path: '', layer: 'topics' };

test.each([
  ['', {}],
  ['filter=home/%23&device=kitchen&tab=clients', { filter: 'home/#', device: 'kitchen', tab: 'clients' }],
  ['topic=home/kitchen&message=home/kitchen/temp&pane=chart&path=t&as=hex&view=detail&q=/x/', { topic: 'home/kitchen', message: 'home/kitchen/temp', pane: 'chart', path: 't', as: 'hex', layer: 'detail', q: '/x/' }],
  ['filter=a/%23/b&tab=nothing&pane=x&as=exe&view=y', {}],
])('%s', (query, view) => expect(viewOf(new URLSearchParams(query))).toEqual({ ...plain, ...view }));

test('an address changes in what was meant, and no more', () => {
  const query = new URLSearchParams('device=kitchen&topic=a');
  expect(hrefOf(query, { tab: 'clients', topic: '' })).toBe('/app/mqtt?device=kitchen&tab=clients');
  expect(hrefOf(new URLSearchParams('tab=clients'), { tab: '' })).toBe('/app/mqtt');
});
