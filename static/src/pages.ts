// The views behind the routes, each loaded when it is first needed.

import type { Component } from 'svelte';
import type { PageName } from './router';

export const pages: Record<PageName, () => Promise<{ default: Component<Record<string, never>> }>> = {
  login: () => import('./pages/login/login.svelte'),
  setup: () => import('./pages/setup/setup.svelte'),
  cli: () => import('./pages/cli/cli.svelte'),
  devices: () => import('./pages/devices/devices.svelte'),
  add: () => import('./pages/add/add.svelte'),
  device: () => import('./pages/device/device.svelte'),
  shells: () => import('./pages/shells/shells.svelte'),
  mqtt: () => import('./pages/mqtt/mqtt.svelte'),
  webhooks: () => import('./pages/webhooks/webhooks.svelte'),
  streams: () => import('./pages/streams/streams.svelte'),
  events: () => import('./pages/events/events.svelte'),
  settings: () => import('./pages/settings/settings.svelte'),
  missing: () => import('./pages/missing/missing.svelte'),
};
