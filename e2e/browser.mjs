// Drives Chromium for the end-to-end tests: one JSON request per line on standard input, {do, ...}; one JSON answer per
// line on standard output, {ok, value} or {ok: false, error}. The first argument is JSON: {profile, spki, resolve}.

import jsQR from 'jsqr';
import { chromium } from 'playwright-core';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const options = JSON.parse(process.argv[2]);

const context = await chromium.launchPersistentContext(options.profile, {
  timeout: 120_000,
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
context.setDefaultTimeout(60_000);

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
let page = context.pages()[0] ?? (await context.newPage()); // the one that is driven
const tabs = new Map([['', page]]);
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

// These run in the page.

function describeFocus(wanted) {
  const element = document.activeElement;
  const box = element.getBoundingClientRect();
  const { outlineStyle } = getComputedStyle(element);
  const inside = box.width > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  return { found: element.matches(wanted), visible: inside && outlineStyle !== 'none', html: element.outerHTML.slice(0, 160) };
}

function awaitPaint() {
  window.__painted = new Promise((resolve) => {
    addEventListener('keydown', ({ timeStamp }) => {
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - timeStamp)));
    }, { once: true, capture: true });
  });
}

async function pixels(png) {
  const bytes = Uint8Array.from(atob(png), (char) => char.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height).getContext('2d');
  canvas.drawImage(picture, 0, 0);
  let data = '';
  for (const byte of canvas.getImageData(0, 0, width, height).data) data += String.fromCharCode(byte);
  return { data: btoa(data), width, height };
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
  async reload() {
    await page.reload();
  },
  async back() {
    await page.goBack();
  },
  async forward() {
    await page.goForward();
  },
  /** Turns to another tab of the same window, which is made when it is first named; '' is the first one. */
  async tab({ name }) {
    if (!tabs.has(name)) tabs.set(name, await context.newPage());
    page = tabs.get(name);
    await page.bringToFront();
  },
  /** Clicks; `at` is a place within the element, `times` makes it a double click and so on. */
  async click({ on, at, times }) {
    await page.locator(on).first().click({ position: at, clickCount: times ?? 1 });
  },
  /** Presses Tab (or Shift+Tab) until an element has the focus; what had it in between and did not show it is returned. */
  async tabTo({ on, back }) {
    const hidden = [];
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press(back ? 'Shift+Tab' : 'Tab');
      const stop = await page.evaluate(describeFocus, on);
      if (!stop.visible) hidden.push(stop.html);
      if (stop.found) return hidden;
    }
    throw new Error(`${on} cannot be reached by the Tab key`);
  },
  async fill({ on, text }) {
    await page.locator(on).first().fill(text);
  },
  async choose({ on, value }) {
    await page.locator(on).selectOption(value);
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
    return state ? '' : ((await found.textContent()) ?? '');
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
  /**
   * The colours that the system prefers, 'light' or 'dark', and whether it wants motion, 'reduce' or 'no-preference'. Ends
   * when the page has turned to them.
   */
  async media({ scheme, motion }) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
    await page.evaluate(async () => {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      // One inside a closed <details> stands still until that is opened.
      const turning = document.getAnimations().filter((animation) => animation instanceof CSSTransition && animation.effect.target.checkVisibility());
      await Promise.allSettled(turning.map((animation) => animation.finished));
    });
  },
  /** Makes the screen one for fingers, or one for a mouse again. */
  async touch({ on }) {
    const session = await context.newCDPSession(page);
    await session.send('Emulation.setTouchEmulationEnabled', { enabled: on, maxTouchPoints: on ? 5 : 1 });
    await page.waitForFunction((coarse) => matchMedia('(pointer: coarse)').matches === coarse, on);
  },
  /** One finger, down and up. */
  async tap({ on }) {
    const target = page.locator(on).first();
    await target.click({ trial: true }); // waits until it stands still, and is not covered
    const box = await target.boundingBox();
    const session = await context.newCDPSession(page);
    const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    await session.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [at] });
    await session.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
    await session.detach();
  },
  /** The value of an expression, as the page sees it. */
  async evaluate({ code }) {
    return page.evaluate(code);
  },
  /** Answers requests for a URL with JSON instead of the hub, after some milliseconds; without JSON the hub answers again. */
  async answer({ url, json, after }) {
    await page.unroute(url);
    if (json === undefined) return;
    await page.route(url, async (route) => {
      await new Promise((done) => setTimeout(done, after ?? 0));
      await route.fulfill({ json }).catch(() => {}); // the page that asked is gone
    });
  },
  /** What the hub answers this browser. */
  async get({ url }) {
    return (await context.request.get(url)).json();
  },
  /** Types keys, and for each gives the milliseconds from the press until the page was painted with what it did. */
  async paced({ keys }) {
    const took = [];
    for (const key of keys) {
      await page.evaluate(awaitPaint);
      await page.keyboard.press(key);
      took.push(await page.evaluate(() => window.__painted));
    }
    return took;
  },
  /** Clicks, and gives the text of the file that is saved by that. */
  async download({ on }) {
    const [file] = await Promise.all([page.waitForEvent('download'), page.locator(on).click()]);
    return readFileSync(await file.path(), 'utf8');
  },
  /** Clicks, and chooses a file where the page asks for one. */
  async upload({ on, path }) {
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.locator(on).click()]);
    await chooser.setFiles(path);
  },
  /** Bytes that the page's objects take, after what nobody holds any more was thrown away. */
  async heap() {
    const session = await context.newCDPSession(page);
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize } = await session.send('Runtime.getHeapUsage');
    await session.detach();
    return usedSize;
  },
  /** What a camera reads in an element. */
  async qr({ on }) {
    const png = await page.locator(on).screenshot();
    const { data, width, height } = await page.evaluate(pixels, png.toString('base64'));
    return jsQR(Uint8ClampedArray.from(Buffer.from(data, 'base64')), width, height)?.data ?? '';
  },
  /** Sets entries of localStorage for the origin that is open. */
  async store({ entries }) {
    await page.evaluate((all) => Object.entries(all).forEach(([k, v]) => localStorage.setItem(k, v)), entries);
  },
  /** What the hub sent to the shell that has the focus, or else to the last one that was opened, as text, and how often it attached. */
  async output() {
    const shell = await page.evaluate(() => document.activeElement?.closest('[data-testid=pane]')?.querySelector('[data-testid=terminal]').dataset.shell);
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
  /** Accessibility by axe: what is wrong, one line each. The rules about colours are few, and all that a scheme changes. */
  async axe({ coloursAlone }) {
    if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axeSource);
    const rules = coloursAlone ? { runOnly: { type: 'rule', values: ['color-contrast', 'link-in-text-block'] } } : {};
    const result = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ['violations'], preload: false, ...rules }), rules);
    return result.violations.map((v) => `${v.id} (${v.impact}): ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`);
  },
  /** By how much the page is wider than its window, or what lies over it wider than its own frame. */
  async overflow() {
    return page.evaluate(() => {
      const frames = [document.documentElement, ...document.querySelectorAll('dialog[open], [popover]:popover-open')];
      return Math.max(...frames.map((frame) => frame.scrollWidth - frame.clientWidth));
    });
  },
  async shot({ path, full }) {
    await page.screenshot({ path, fullPage: full ?? false });
  },
  /** Complaints since the last time. */
  async complaints() {
    return complaints.splice(0);
  },
};

/** Longer than any answer takes: a page that hangs is said so. */
const LATE = 180_000;

function inTime(answer) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${LATE / 1000} s`)), LATE);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, value: (await inTime(actions[request.do](request))) ?? null };
  } catch (error) {
    answer = { ok: false, error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
await context.close();
