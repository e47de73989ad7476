// Fails the build when a page's first load outgrew its budget. Sizes are gzip -9, in bytes.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const KB = 1024;
const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));

const pages = [
  { name: 'landing', entries: ['index.html'], js: 0, css: 8 * KB },
  { name: 'login', entries: ['app.html', 'src/pages/login/login.svelte'], js: 35 * KB, css: 8 * KB },
  { name: 'devices', entries: ['app.html', 'src/pages/devices/devices.svelte'], js: 35 * KB, css: 8 * KB },
  { name: 'add', entries: ['app.html', 'src/pages/add/add.svelte'], js: 45 * KB, css: 8 * KB },
  { name: 'device', entries: ['app.html', 'src/pages/device/device.svelte'], js: 55 * KB, css: 8 * KB },
  { name: 'mqtt', entries: ['app.html', 'src/pages/mqtt/mqtt.svelte', 'src/pages/mqtt/console.svelte'], js: 55 * KB, css: 8 * KB },
  { name: 'webhooks', entries: ['app.html', 'src/pages/webhooks/webhooks.svelte', 'src/pages/webhooks/frame.svelte', 'src/pages/webhooks/endpoints/endpoints.svelte'], js: 45 * KB, css: 8 * KB },
  { name: 'endpoint', entries: ['app.html', 'src/pages/webhooks/webhooks.svelte', 'src/pages/webhooks/frame.svelte', 'src/pages/webhooks/endpoints/endpoint.svelte'], js: 55 * KB, css: 8 * KB },
  { name: 'deliveries', entries: ['app.html', 'src/pages/webhooks/webhooks.svelte', 'src/pages/webhooks/frame.svelte', 'src/pages/webhooks/deliveries/deliveries.svelte'], js: 50 * KB, css: 8 * KB },
  { name: 'sources', entries: ['app.html', 'src/pages/webhooks/webhooks.svelte', 'src/pages/webhooks/frame.svelte', 'src/pages/webhooks/sources/sources.svelte'], js: 45 * KB, css: 8 * KB },
  { name: 'source', entries: ['app.html', 'src/pages/webhooks/webhooks.svelte', 'src/pages/webhooks/frame.svelte', 'src/pages/webhooks/sources/source.svelte'], js: 55 * KB, css: 8 * KB },
  { name: 'requests', entries: ['app.html', 'src/pages/webhooks/webhooks.svelte', 'src/pages/webhooks/frame.svelte', 'src/pages/webhooks/requests/requests.svelte'], js: 50 * KB, css: 8 * KB },
  { name: 'streams', entries: ['app.html', 'src/pages/streams/streams.svelte'], js: 35 * KB, css: 8 * KB },
  { name: 'events', entries: ['app.html', 'src/pages/events/events.svelte'], js: 40 * KB, css: 8 * KB },
  { name: 'settings', entries: ['app.html', 'src/pages/settings/settings.svelte'], js: 45 * KB, css: 8 * KB },
  { name: 'shells', entries: ['app.html', 'src/pages/shells/shells.svelte'], js: 140 * KB, css: 12 * KB },
];
const FONTS = 60 * KB;

/** Every file that the entries load before they can run: their static imports, not the dynamic ones. */
function firstLoad(entries) {
  const js = new Set();
  const css = new Set();
  const seen = new Set();
  const walk = (key) => {
    if (seen.has(key)) return;
    seen.add(key);
    const chunk = manifest[key];
    if (!chunk) throw new Error(`budget: ${key} is not in the manifest`);
    (chunk.file.endsWith('.js') ? js : css).add(chunk.file);
    chunk.css?.forEach((file) => css.add(file));
    chunk.imports?.forEach(walk);
  };
  entries.forEach(walk);
  return { js, css };
}

const size = (file) => gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length;
const sum = (files) => [...files].reduce((total, file) => total + size(file), 0);

let failed = false;
const report = (name, got, limit) => {
  const over = got > limit;
  failed ||= over;
  console.log(`${over ? 'OVER ' : 'ok   '}${name.padEnd(16)}${String(got).padStart(8)} of ${limit} B gzip`);
};

for (const page of pages) {
  const { js, css } = firstLoad(page.entries);
  report(`${page.name} js`, sum(js), page.js);
  report(`${page.name} css`, sum(css), page.css);
}
const fonts = new Set(Object.values(manifest).flatMap((chunk) => [chunk.file, ...(chunk.assets ?? [])]).filter((file) => file.endsWith('.woff2')));
report('fonts', [...fonts].reduce((total, file) => total + readFileSync(new URL(file, dist)).length, 0), FONTS);

const landing = readFileSync(new URL('index.html', dist), 'utf8');
if (/<script|<style|\sstyle=|\son\w+=/i.test(landing)) {
  failed = true;
  console.log('OVER landing has a script or an inline style');
}
process.exitCode = failed ? 1 : 0;
