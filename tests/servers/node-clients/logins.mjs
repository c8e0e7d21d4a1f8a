// People at services that log in at a provider: the shop and its orders share sessions, the accounts have their own.
import { newPage, open, shoot } from './browser.mjs';
import { form, isAsked, isAway, signIn } from './provider.mjs';
import { input, tell } from './script.mjs';

const { issuer, shop, orders, accounts } = input;

/** Has the test do something meanwhile, and returns what came of it. */
async function hand(order, about = {}) {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${input.hand}/${order}`, { method: 'POST', headers, body: JSON.stringify(about) });
  if (!answer.ok) throw new Error(`${order}: ${answer.status}`);
  return answer.json();
}

const sleep = (seconds) => new Promise((done) => { setTimeout(done, seconds * 1000); });

async function visit(page, url, who) {
  await page.goto(url);
  if (await isAsked(page)) await signIn(page, who);
}

const heading = (page) => page.getByRole('heading', { level: 1 }).textContent();
const who = (page) => page.locator('#who').textContent();
const seen = async (page) => ({ url: page.url(), heading: await heading(page), who: await who(page) });

const host = (origin) => new URL(origin).hostname;
const cookiesOf = async (context, origin) => {
  const cookies = await context.cookies();
  return cookies.filter((cookie) => cookie.domain === host(origin) && cookie.path === '/');
};
const sessionOf = async (context, origin) =>
  (await cookiesOf(context, origin)).find((cookie) => cookie.name === '__Host-session')?.value;

/** Calls a service of ours as the page's own script would. */
const call = (page, path, options = {}) => page.evaluate(async ([to, how]) => {
  const answer = await fetch(to, { headers: { 'x-csrf': '1' }, redirect: 'manual', ...how });
  const text = await answer.text();
  return { status: answer.status, type: answer.type, ...(text.startsWith('{') ? { body: JSON.parse(text) } : {}) };
}, [path, options]);

/** Calls it from elsewhere with a cookie that was taken along. */
async function callWith(origin, cookie) {
  const headers = { cookie: `__Host-session=${cookie}`, 'x-csrf': '1' };
  return (await fetch(`${origin}/bff/user`, { headers })).status;
}

/** Where a page's script could find something. */
const readable = (page) => page.evaluate(async () => JSON.stringify([
  document.documentElement.outerHTML, document.cookie, { ...localStorage }, { ...sessionStorage }, globalThis.name,
  (await indexedDB.databases()).map((database) => database.name), await caches.keys(), history.state,
]));

const isToken = (text) => /eyJ|access_token|id_token|refresh_token/.test(text);

/** Collects which addresses a browser asks. */
function watch(context) {
  const urls = [];
  context.on('request', (request) => urls.push(request.url()));
  return urls;
}

/** Goes with a browser's cookies through a login that asks nothing, and returns where it would come back. */
async function returnOf(context, start) {
  let url = start;
  while (!url.includes('/bff/callback?')) {
    const answer = await context.request.get(url, { maxRedirects: 0 });
    const { location } = answer.headers();
    if (!location) throw new Error(`${answer.status()} of ${url}`);
    url = new URL(location, url).href;
  }
  return url;
}

/** Picks out what looks like this, without what a query holds. */
const among = (urls, start) => urls.filter((url) => url.startsWith(start)).map((url) => url.split('?')[0]);

const ELSEWHERE = [
  'https://evil.example/', '//evil.example/', '///evil.example/', '/\\evil.example/', '\\\\evil.example/', '/%5Cevil.example/',
  '/%2Fevil.example/', '/%09/evil.example/', '/\t/evil.example/', '/.//evil.example/', '/..//evil.example/', 'http:/evil.example/',
  'evil.example', '@evil.example/', '.evil.example/', 'javascript:alert(1)', 'data:text/html,evil', ' //evil.example/',
  '/x%0d%0aLocation:%20https://evil.example/', '/x\r\nLocation: https://evil.example/', '',
];

const JOURNEYS = {
  async login(browser) {
    const { context, page, trouble } = await newPage(browser);
    const urls = watch(context);
    await page.goto(`${shop}/orders/7?from=mail&tag=a%20b`);
    tell('asked', { asked: await isAsked(page), picture: await shoot(page, 'asked') });
    const pending = await cookiesOf(context, shop);
    tell('pending', { cookies: pending.map(({ value, name, ...rest }) => ({ ...rest, length: value.length, login: name.startsWith('__Host-login-') })) });
    await signIn(page);
    tell('logged in', { ...(await seen(page)), picture: await shoot(page, 'logged-in') });
    const cookies = await cookiesOf(context, shop);
    tell('cookies', { cookies: cookies.map(({ value, ...rest }) => ({ ...rest, length: value.length })) });
    const user = await call(page, '/bff/user');
    const told = await readable(page);
    const [session] = cookies;
    const passed = urls.filter((url) => !url.startsWith(issuer));
    tell('traces', {
      user, readable: isToken(told), cookie: told.includes(session.value), urls: passed.filter(isToken),
      cookies: cookies.filter((cookie) => isToken(cookie.value)).length, page: isToken(page.url()) || page.url().includes('code='),
    });

    tell('about', { about: await call(page, '/about'), own: await call(page, '/bff/api/token'), exchanged: await call(page, '/bff/api/invoices') });

    urls.length = 0;
    await page.goto(`${orders}/orders/8`);
    tell('shared', { ...(await seen(page)), provider: among(urls, issuer) });
    await page.goto(`${accounts}/orders/9`);
    tell('single sign-on', { ...(await seen(page)), provider: among(urls, issuer).length > 0, picture: await shoot(page, 'single-sign-on') });
    const other = await newPage(browser);
    await other.page.goto(`${accounts}/bff/login?prompt=none`);
    tell('silently nobody', await seen(other.page));

    // The same return once more, and somebody else's.
    const used = urls.find((url) => url.startsWith(`${accounts}/bff/callback`));
    const again = await page.goto(used);
    await page.goto(`${accounts}/`);
    tell('returned twice', { status: again.status(), who: await who(page) });
    const stolen = await returnOf(context, `${shop}/bff/login?prompt=none`);
    const planted = await other.page.goto(stolen);
    const picture = await shoot(other.page, 'planted');
    await other.page.goto(`${shop}/`);
    tell('planted', { status: planted.status(), who: await who(other.page), picture });
    // The pages of oidc-provider would like a font.
    tell('trouble', { trouble: trouble.filter((what) => !what.includes('fonts.googleapis.com')) });
  },

  async elsewhere(browser) {
    const { context, page } = await newPage(browser);
    await visit(page, `${shop}/orders/1`);
    const urls = watch(context);
    const told = [];
    for (const place of ELSEWHERE) {
      for (const start of [`${shop}/bff/login?return_to=`, `${shop}/bff/initiate?iss=${encodeURIComponent(issuer)}&target_link_uri=`]) {
        const answer = await page.goto(start + encodeURIComponent(place));
        told.push({ place, status: answer.status(), ended: new URL(page.url()).origin });
      }
    }
    await page.goto(`${shop}/bff/login?return_to=https%3A%2F%2Fevil.example%2F`);
    const picture = await shoot(page, 'refused');
    await page.getByRole('link', { name: 'Home' }).click();
    await page.waitForURL(`${shop}/`);
    tell('refused', { told, evil: urls.filter((url) => new URL(url).hostname.includes('evil')), home: await seen(page), picture });
    await page.goto(`${shop}/bff/initiate?iss=${encodeURIComponent(issuer)}&target_link_uri=${encodeURIComponent(`${shop}/orders/5`)}`);
    tell('initiated', await seen(page));
    const stranger = await page.goto(`${shop}/bff/initiate?iss=https%3A%2F%2Fevil.example&target_link_uri=%2F`);
    tell('by a stranger', { status: stranger.status() });
  },

  async tabs(browser) {
    const { context, page: first } = await newPage(browser);
    const second = await context.newPage();
    // One after the other: Keycloak's page loads itself anew when another one has begun at the same moment.
    await first.goto(`${shop}/orders/1`);
    await second.goto(`${shop}/orders/2`);
    tell('both', { asked: [await isAsked(first), await isAsked(second)], cookies: (await cookiesOf(context, shop)).length });
    await signIn(first);
    // Keycloak notices in the second one by itself.
    await second.waitForURL(isAway, { timeout: 5000 }).catch(() => {});
    let typed = false;
    if (!isAway(second.url())) {
      typed = true;
      await signIn(second);
    }
    await second.waitForURL(`${shop}/**`);
    tell('one after the other', { typed, first: await seen(first), second: await seen(second), picture: await shoot(second, 'second-tab') });
    const statuses = [(await call(first, '/bff/user')).status, (await call(second, '/bff/user')).status];
    tell('usable', { statuses, cookies: (await cookiesOf(context, shop)).map((cookie) => cookie.name), ...(await hand('sessions')) });

    // At the same moment, for the provider knows who it is.
    await context.clearCookies({ domain: host(shop) });
    const tabs = await Promise.all(Array.from({ length: 5 }, () => context.newPage()));
    await Promise.all(tabs.map((tab, number) => tab.goto(`${shop}/orders/${number + 10}`)));
    const ends = await Promise.all(tabs.map(seen));
    const usable = await Promise.all(tabs.map(async (tab) => (await call(tab, '/bff/user')).status));
    tell('at once', { ends, usable, cookies: (await cookiesOf(context, shop)).map((cookie) => cookie.name), ...(await hand('sessions')) });
  },

  async refresh(browser) {
    const { context, page } = await newPage(browser);
    await visit(page, `${shop}/orders/1`);
    const first = await call(page, '/bff/api/token');
    tell('first', first);
    tell('without the header', await call(page, '/bff/api/token', { headers: {} }));
    const other = await context.newPage();
    await other.goto(`${orders}/orders/2`);
    const many = (tab) => tab.evaluate(() => Promise.all(Array.from({ length: 20 }, async () => {
      const answer = await fetch('/bff/api/token', { headers: { 'x-csrf': '1' } });
      return [answer.status, answer.ok ? (await answer.json()).token : await answer.text()];
    })));
    for (const round of [1, 2]) {
      await sleep(input.lifespan + 1);
      const answers = (await Promise.all([many(page), many(other)])).flat();
      tell(`round ${round}`, {
        statuses: [...new Set(answers.map(([status]) => status))], tokens: [...new Set(answers.map(([, token]) => token))],
        ...(await hand('refreshes')),
      });
    }
    tell('still in', { cookies: (await cookiesOf(context, shop)).length, ...(await seen(page)) });
  },

  async stepUp(browser) {
    const { context, page } = await newPage(browser);
    await visit(page, `${shop}/payout`);
    tell('fresh', await seen(page));
    const before = await sessionOf(context, shop);
    await sleep(input.fresh + 1);
    await page.goto(`${shop}/payout`);
    tell('asked again', { asked: await isAsked(page), picture: await shoot(page, 'again') });
    // Whoever thinks better of it is where they were.
    await page.goto(`${shop}/orders/3`);
    tell('gone back', { ...(await seen(page)), same: before === (await sessionOf(context, shop)) });
    await page.goto(`${shop}/payout`);
    await signIn(page);
    const after = await sessionOf(context, shop);
    tell('stepped up', { ...(await seen(page)), same: before === after });
    // Requests that were under way have a moment.
    await sleep(3);
    tell('ids', { before: await callWith(shop, before), after: await callWith(shop, after), ...(await hand('sessions')) });
  },

  /** Levels of a login that Keycloak knows. */
  async levels(browser) {
    const { context, page } = await newPage(browser);
    await visit(page, `${shop}/orders/1`);
    tell('silver', await seen(page));
    const before = await sessionOf(context, shop);
    await page.goto(`${shop}/vault`);
    tell('asked for more', { asked: await isAsked(page), picture: await shoot(page, 'more') });
    await signIn(page);
    tell('gold', { ...(await seen(page)), same: before === (await sessionOf(context, shop)) });
    const urls = watch(context);
    await page.goto(`${shop}/vault`);
    tell('again', { ...(await seen(page)), provider: among(urls, issuer) });
    const answer = await page.goto(`${shop}/bff/login?acr_values=platinum&return_to=%2Forders%2F1`);
    tell('no such level', { status: answer.status(), url: page.url().split('?')[0], picture: await shoot(page, 'too-weak') });
    await page.goto(`${shop}/vault`);
    tell('all the same', await seen(page));
  },

  async logout(browser) {
    const { context, page } = await newPage(browser);
    await visit(page, `${shop}/orders/1`);
    await visit(page, `${accounts}/orders/2`);
    const [old, oldThere] = [await sessionOf(context, shop), await sessionOf(context, accounts)];
    tell('before', { statuses: [await callWith(shop, old), await callWith(accounts, oldThere)], ...(await hand('sessions')) });

    // Another site sends the form.
    const refused = page.waitForResponse((response) => response.request().method() === 'POST');
    await page.setContent(`<form method=post action="${shop}/bff/logout"><button>Prize</button></form>`);
    await page.getByRole('button', { name: 'Prize' }).click();
    tell('forged', { status: (await refused).status(), still: await callWith(shop, old) });

    const urls = watch(context);
    await page.goto(`${shop}/orders/1`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    const yes = page.locator(form.logout);
    const back = page.waitForURL(`${shop}/`);
    await Promise.race([back, yes.click().then(() => back)]);
    tell('logged out', {
      ...(await seen(page)), provider: among(urls, issuer).length > 0, cookies: (await cookiesOf(context, shop)).length,
      statuses: [await callWith(shop, old), await callWith(accounts, oldThere)], ...(await hand('sessions')), ...(await hand('revoked')),
      picture: await shoot(page, 'logged-out'),
    });
    await page.goto(`${accounts}/orders/2`);
    tell('asked there', { asked: await isAsked(page) });
    await page.goto(`${shop}/orders/1`);
    tell('asked here', { asked: await isAsked(page) });

    // A script does it, and nobody else is logged in there.
    await signIn(page);
    const answer = await call(page, '/bff/logout', { method: 'POST' });
    await page.goto(new URL(answer.body.location, shop).href);
    await Promise.race([page.waitForURL(`${shop}/`), yes.click().then(() => page.waitForURL(`${shop}/`))]);
    tell('by a script', { status: answer.status, ...(await seen(page)), ...(await hand('sessions')) });
    await page.goto(`${shop}/orders/1`);
    tell('asked at last', { asked: await isAsked(page) });
  },

  /** Two browsers, two services, and the provider's side ends it. */
  async fromThere(browser) {
    const [one, two] = [await newPage(browser), await newPage(browser)];
    const sids = [];
    for (const { page } of [one, two]) {
      await visit(page, `${shop}/orders/1`);
      await visit(page, `${accounts}/orders/2`);
      const { there } = await hand('sessions');
      sids.push((there ?? []).find((sid) => !sids.includes(sid)));
    }
    const state = async ({ page }) => {
      const told = {};
      for (const [name, origin] of Object.entries({ shop, orders, accounts })) {
        await page.goto(`${origin}/`);
        told[name] = [await who(page), (await call(page, '/bff/user?poll=1')).status];
      }
      return told;
    };
    tell('before', { one: await state(one), two: await state(two), ...(await hand('sessions')) });
    if (input.provider === 'keycloak') {
      await hand('end', { session: sids[0] });
    } else {
      await one.page.goto(`${issuer}/session/end`);
      await one.page.locator(form.logout).click();
      await one.page.getByText('Sign-out Success').waitFor();
    }
    tell('one ended', { one: await state(one), two: await state(two), ...(await hand('sessions')), picture: await shoot(one.page, 'ended') });
    await one.page.goto(`${shop}/orders/1`);
    tell('one asked', { asked: await isAsked(one.page) });
    await hand('end-all');
    tell('all ended', { one: await state(one), two: await state(two), ...(await hand('sessions')) });
    await two.page.goto(`${accounts}/orders/1`);
    tell('two asked', { asked: await isAsked(two.page) });
  },

  async outage(browser) {
    const { context, page } = await newPage(browser);
    await hand('stop');
    const down = await page.goto(`${shop}/orders/1`);
    tell('down', { status: down.status(), url: page.url().split('?')[0], heading: await heading(page), picture: await shoot(page, 'down') });
    await hand('start');
    await visit(page, `${accounts}/orders/1`);
    tell('up', await seen(page));
    // It goes down while somebody is on the way back from it.
    const back = await returnOf(context, `${shop}/bff/login?return_to=%2Forders%2F2`);
    await hand('stop');
    const returned = await page.goto(back);
    tell('down at the return', { status: returned.status(), heading: await heading(page), picture: await shoot(page, 'return') });
    await page.goto(`${accounts}/orders/3`);
    tell('meanwhile', await seen(page));
    const old = await sessionOf(context, accounts);
    const answer = await call(page, '/bff/logout', { method: 'POST' });
    tell('logout meanwhile', { status: answer.status, old: await callWith(accounts, old), cookies: (await cookiesOf(context, accounts)).length });
    await hand('start');
    await visit(page, `${shop}/orders/2`);
    tell('up again', await seen(page));
  },

  async disabled(browser) {
    const { context, page } = await newPage(browser);
    await visit(page, `${shop}/orders/1`, 'bob');
    tell('before', { ...(await seen(page)), status: (await call(page, '/bff/api/token')).status });
    await hand('disable', { user: 'bob' });
    await sleep(input.lifespan + 1);
    const old = await sessionOf(context, shop);
    tell('after', {
      api: (await call(page, '/bff/api/token')).status, user: (await call(page, '/bff/user')).status,
      cookies: (await cookiesOf(context, shop)).length, old: await callWith(shop, old),
    });
    await page.goto(`${shop}/orders/1`);
    tell('asked', { asked: await isAsked(page), picture: await shoot(page, 'asked') });
  },
};

const browser = await open();
try {
  await JOURNEYS[input.journey](browser);
} catch (error) {
  const pages = browser.contexts().flatMap((context) => context.pages());
  for (const [number, page] of pages.entries()) {
    console.error(`${page.url().split('?')[0]}: ${await page.locator('body').innerText().catch(() => '')}`);
    await shoot(page, `failed-${number}`).catch(() => {});
  }
  throw error;
}
await browser.close();
