// The page of the example `browser-storage`: what a stranger's script gets from each place, and what else follows from it.
import { newPage, open, openProfile, shoot } from './browser.mjs';
import { input, tell } from './script.mjs';

const { shop, sibling, stranger } = input;

async function visit(page, path = '/') {
  await page.goto(shop + path);
  await page.locator('html[data-ready]').waitFor();
}

async function press(page, button, said) {
  await page.getByRole('button', { name: button }).click();
  await page.getByRole('status').filter({ hasText: said }).waitFor();
}

const logIn = (page) => press(page, 'Log in as alice', 'You are alice');

/** Reads a table of the page: by place, then by column. */
const table = (page, row, cell) => page.evaluate(([ofRow, ofCell]) =>
  Object.fromEntries([...document.querySelectorAll(`tr[data-${ofRow}]`)].map((tr) => [
    tr.dataset[ofRow],
    Object.fromEntries([...tr.querySelectorAll(`[data-${ofCell}]`)].map((td) => [td.dataset[ofCell], td.textContent])),
  ])), [row, cell]);
const here = async (page) => {
  const places = Object.entries(await table(page, 'place', 'cell'));
  return Object.fromEntries(places.map(([place, { here: has }]) => [place, has]));
};

const JOURNEYS = {
  async attacked(browser) {
    const { page } = await newPage(browser, { viewport: { width: 1280, height: 1500 } });
    await visit(page, '/dangerously-unescaped');
    tell('before', { here: await here(page) });
    await logIn(page);
    tell('logged in', { here: await here(page) });
    await press(page, 'Use every token', 'The API answers');
    tell('used', { status: await page.getByRole('status').textContent() });
    await page.getByRole('button', { name: 'Show the comments' }).click();
    await page.locator('html[data-attacked]').waitFor();
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.locator('html[data-after]').waitFor();
    tell('attacked', { cells: await table(page, 'place', 'cell'), picture: await shoot(page, 'attacked') });
  },

  /** The same comment where it is text, and where a policy stands behind the mistake. */
  async held(browser) {
    for (const path of ['/', '/dangerously-unescaped-with-policy']) {
      const { page, trouble } = await newPage(browser);
      const asked = [];
      page.on('request', (request) => asked.push(new URL(request.url()).origin));
      await visit(page, path);
      await logIn(page);
      await press(page, 'Show the comments', 'Here are the comments');
      // The picture in the comment is broken, so its handler would run about now.
      await page.waitForTimeout(500);
      const picture = await shoot(page, path === '/' ? 'as-text' : 'with-policy');
      await page.setViewportSize({ width: 320, height: 700 });
      tell(path, {
        comment: await page.getByRole('listitem').textContent(), attacked: await page.locator('html[data-attacked]').count(),
        asked: [...new Set(asked)], trouble, picture,
        wide: await page.evaluate(() => document.documentElement.scrollWidth),
      });
    }
  },

  /** What the second table says, and how it is. */
  async facts() {
    const folder = './profile';
    let context = await openProfile(folder);
    let page = await context.newPage();
    await visit(page);
    tell('said', { facts: await table(page, 'facts', 'fact') });
    await logIn(page);
    const other = await context.newPage();
    await visit(other);
    tell('another tab', { here: await here(other) });
    await other.close();
    await visit(page);
    tell('reload', { here: await here(page) });

    await page.evaluate(() => { document.cookie = 'wide=1; Domain=shop.localhost; Path=/; Secure; SameSite=Strict'; });
    for (const [name, origin] of Object.entries({ sibling, stranger })) {
      await page.goto(origin);
      tell(name, {
        cookie: await page.evaluate(() => document.cookie), storage: await page.evaluate(() => localStorage.length),
        databases: await page.evaluate(async () => (await indexedDB.databases()).length),
        came: await page.locator('#cookies').textContent(),
      });
      const forms = {};
      const buttons = await page.getByRole('button').allTextContents();
      for (const button of buttons) {
        await page.goto(origin);
        const answered = page.waitForResponse((response) => response.request().method() === 'POST');
        await page.getByRole('button', { name: button, exact: true }).click();
        const answer = await answered;
        const headers = await answer.request().allHeaders();
        const sent = (headers.cookie ?? '').split('; ').map((cookie) => cookie.split('=')[0]);
        forms[button] = { status: answer.status(), sent: sent.filter((cookie) => cookie.startsWith('__Host-')).sort() };
      }
      tell(`forms of the ${name}`, { forms });
    }
    await context.close();

    context = await openProfile(folder);
    page = await context.newPage();
    await visit(page);
    tell('restart', { here: await here(page) });
    await context.close();
  },
};

const browser = await open();
await JOURNEYS[input.journey](browser);
await browser.close();
