import { describe, expect, test } from 'vitest';
import { match, safeReturn } from './router';

describe('match', () => {
  test.each([
    ['/app/', 'devices'],
    ['/app', 'devices'],
    ['/app/add', 'add'],
    ['/app/shells', 'shells'],
    ['/app/webhooks', 'webhooks'],
    ['/app/webhooks/deliveries', 'webhooks'],
    ['/app/webhooks/endpoints/end_01J', 'webhooks'],
    ['/app/webhooks/nothing', 'missing'],
    ['/app/webhooks/sources/a/b', 'missing'],
    ['/app/streams', 'streams'],
    ['/app/settings', 'settings'],
    ['/app/cli', 'cli'],
    ['/app/cli-login/WDJB-MJHT', 'cli'],
    ['/app/login', 'login'],
    ['/app/nowhere', 'missing'],
    ['/app/d/', 'missing'],
    ['/app/d/a/b', 'missing'],
  ])('%s is %s', (path, page) => expect(match(path).page).toBe(page));

  test('gives the device, decoded, and survives a broken escape', () => {
    expect(match('/app/d/kitchen%2Dpi').params['device']).toBe('kitchen-pi');
    expect(match('/app/d/%zz').params['device']).toBe('%zz');
  });
});

test('a part of a path that is absent is empty', () => {
  expect(match('/app/webhooks').params).toEqual({ tab: '', id: '' });
  expect(match('/app/webhooks/sources/garage').params).toEqual({ tab: 'sources', id: 'garage' });
});

describe('safeReturn', () => {
  test.each([
    ['/app/d/kitchen?x=1', '/app/d/kitchen?x=1'],
    ['/app/cli?code=WDJB-MJHT', '/app/cli?code=WDJB-MJHT'],
    ['/app?q=pi', '/app?q=pi'],
    [null, '/app/'],
    ['', '/app/'],
    ['//evil.example', '/app/'],
    ['/\\evil.example', '/app/'],
    ['/app/\\..//evil', '/app/'],
    ['https://evil.example/app/', '/app/'],
    ['javascript:alert(1)', '/app/'],
    ['/application', '/app/'],
    ['/app/login', '/app/'],
    ['/app/../i', '/app/'],
  ])('%s → %s', (next, want) => expect(safeReturn(next)).toBe(want));
});
