// Chromium by remote control.
import { chromium } from 'playwright-core';
import { input } from './script.mjs';

// Tests may run as root and in containers, where Chromium's own sandbox cannot be set up; it opens pages of ours alone.
const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--no-proxy-server',
];

const LAUNCH = { executablePath: input.chromium, headless: true, args: ARGUMENTS };

/** Starts a browser with a new profile. */
export const open = () => chromium.launch(LAUNCH);

/** Starts a browser that keeps its profile in `folder`, and returns what [newPage] would open pages in. */
export const openProfile = (folder) => chromium.launchPersistentContext(folder, LAUNCH);

/** Starts a browser whose process is known. */
export const launchServer = () => chromium.launchServer(LAUNCH);

/**
 * Opens a page that nobody is logged in on. Collects in `trouble` what it complains about: breaches of a content
 * security policy, errors of scripts, requests that came to nothing.
 */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 800, height: 700 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const trouble = [];
  await page.exposeBinding('tellOfBreach', (_, breach) => trouble.push(`policy: ${breach}`));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      globalThis.tellOfBreach(`${event.effectiveDirective} ${event.blockedURI}`);
    });
  });
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) trouble.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => trouble.push(`script: ${error.message}`));
  page.on('requestfailed', (request) => trouble.push(`request: ${request.url()} ${request.failure()?.errorText}`));
  return { context, page, trouble };
}

/** Takes a picture and returns its file. */
export async function shoot(page, name) {
  const file = `${input.screenshots}-${name}.png`;
  await page.screenshot({ path: file });
  return file;
}
