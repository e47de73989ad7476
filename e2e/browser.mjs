// Drives Chromium for the end-to-end tests: one JSON request per line on standard input, {do, ...}; one JSON answer per
// line on standard output, {ok, value} or {ok: false, error}. The first argument is JSON: {profile, spki, resolve}.

import { chromium } from 'playwright-core';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const options = JSON.parse(process.argv[2]);

const context = await chromium.launchPersistentContext(options.profile, {
  executablePath: options.chromium ?? '/usr/bin/chromium',
  viewport: { width: 1280, height: 800 },
  permissions: ['clipboard-read', 'clipboard-write'],
  args: [
    '--no-sandbox',
    '--disable-dev-shm-usage',
    ...(options.spki ? [`--ignore-certificate-errors-spki-list=${options.spki}`] : []),
    ...(options.resolve ? [`--host-resolver-rules=${options.resolve}`] : []),
  ],
});
context.setDefaultTimeout(20_000);

// What a page must never do: break its own policy, or throw.
const complaints = [];
await context.exposeBinding('__complain', (_, text) => complaints.push(text));
await context.addInitScript(() => {
  document.addEventListener('securitypolicyviolation', (e) =>
    window.__complain(`CSP: ${e.violatedDirective} blocked ${e.blockedURI} ${e.sourceFile}:${e.lineNumber} ${e.sample}`));
});

// Everything that shells sent, put together by the numbers that output bytes carry: one buffer for each shell.
const received = new Map();
const attached = []; // URLs of the attachments, in order

context.on('page', watch);
const page = context.pages()[0] ?? (await context.newPage());
watch(page);

function watch(page) {
  page.on('pageerror', (error) => complaints.push(`threw: ${error.stack ?? error}`));
  page.on('websocket', (socket) => {
    const shell = /\/shells\/([^/]+)\/attach/.exec(socket.url())?.[1];
    if (!shell) return;
    attached.push(socket.url());
    socket.on('framereceived', ({ payload }) => keep(shell, payload));
  });
}

function keep(shell, payload) {
  if (typeof payload === 'string' || payload[0] !== 0) return;
  const at = Number(payload.readBigUInt64BE(1));
  const log = received.get(shell) ?? { start: at, chunks: [], next: at, gaps: [], again: 0 };
  received.set(shell, log);
  const bytes = payload.subarray(9);
  if (at > log.next) log.gaps.push([log.next, at]);
  if (at < log.next) log.again += log.next - at;
  if (at + bytes.length <= log.next) return;
  log.chunks.push(bytes.subarray(Math.max(0, log.next - at)));
  log.next = at + bytes.length;
}

const actions = {
  /** Opens a path or URL and waits until the page has loaded. */
  async open({ url }) {
    await page.goto(url);
    return page.url();
  },
  async url() {
    return page.url();
  },
  async click({ on }) {
    await page.locator(on).first().click();
  },
  async fill({ on, text }) {
    await page.locator(on).first().fill(text);
  },
  async press({ key }) {
    await page.keyboard.press(key);
  },
  /** Types as a person does, into whatever has the focus. */
  async type({ text }) {
    await page.keyboard.type(text);
  },
  async wait({ on, text, state }) {
    const found = page.locator(on).filter(text ? { hasText: text } : {}).first();
    await found.waitFor({ state: state ?? 'visible' });
    return (await found.textContent()) ?? '';
  },
  async text({ on }) {
    return (await page.locator(on).first().textContent()) ?? '';
  },
  async count({ on }) {
    return page.locator(on).count();
  },
  async size({ width, height }) {
    await page.setViewportSize({ width, height });
  },
  async scheme({ scheme }) {
    await page.emulateMedia({ colorScheme: scheme });
  },
  /** Sets entries of localStorage for the origin that is open. */
  async store({ entries }) {
    await page.evaluate((all) => Object.entries(all).forEach(([k, v]) => localStorage.setItem(k, v)), entries);
  },
  /** What the hub sent to a shell's page, as text, and how often it attached. */
  async output({ shell }) {
    const log = shell ? received.get(shell) : [...received.values()].at(-1);
    if (!log) return { text: '', gaps: 0, again: 0, attached: attached.length };
    return { text: Buffer.concat(log.chunks).toString(), gaps: log.gaps.length, again: log.again, attached: attached.length };
  },
  /** Everything that the visible terminal holds, by its menu's "Output as text". */
  async screen() {
    await page.locator('[data-testid=terminal-menu]').click();
    await page.getByRole('menuitem', { name: 'Output as text' }).click();
    const text = await page.locator('[data-testid=output-text]').textContent();
    await page.keyboard.press('Escape');
    await page.locator('[data-testid=output-text]').waitFor({ state: 'detached' });
    return text;
  },
  /** Accessibility by axe: what is wrong, one line each. */
  async axe() {
    await page.evaluate(axeSource);
    const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    return result.violations.map((v) => `${v.id} (${v.impact}): ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`);
  },
  /** Whether the page is wider than its window. */
  async overflow() {
    return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },
  async shot({ path, full }) {
    await page.screenshot({ path, fullPage: full ?? false });
  },
  /** Complaints since the last time. */
  async complaints() {
    return complaints.splice(0);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, value: (await actions[request.do](request)) ?? null };
  } catch (error) {
    answer = { ok: false, error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
await context.close();
