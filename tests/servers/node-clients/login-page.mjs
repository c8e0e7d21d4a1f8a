// A person before the pages of our authorization server, in Chromium.
import { newPage, open, shoot } from './browser.mjs';
import { input, tell } from './script.mjs';

const { issuer, redirectUri, loggedOutUri, user: { name, password } } = input;
// RFC 7636 appendix B.
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

function authorizationUrl(state, more = {}) {
  const to = new URL(`${issuer}/authorize`);
  to.search = new URLSearchParams({
    response_type: 'code', client_id: 'shop', redirect_uri: redirectUri, scope: 'openid orders:read', state,
    code_challenge: CHALLENGE, code_challenge_method: 'S256', ...more,
  });
  return to.href;
}

const device = async () => {
  const body = new URLSearchParams({ client_id: 'tv', scope: 'orders:read' });
  return (await fetch(`${issuer}/device_authorization`, { method: 'POST', body })).json();
};

/** Says where the browser is, without what a query holds. */
const place = (page) => page.url().split('?')[0];
const query = (page) => Object.fromEntries(new URL(page.url()).searchParams);
const heading = (page) => page.getByRole('heading').textContent();

async function fill(page, secret = password) {
  await page.getByLabel('User name').fill(name);
  await page.getByLabel('Password').fill(secret);
  const answered = page.waitForResponse((response) => response.request().method() === 'POST');
  await page.getByRole('button', { name: 'Sign in' }).click();
  return (await answered).status();
}

const JOURNEYS = {
  /** From the first login to the logout, with scripts or without. */
  async whole(browser, options) {
    const { context, page, trouble } = await newPage(browser, options);
    await page.goto(authorizationUrl('one'));
    const field = (label) => page.getByLabel(label).getAttribute('autocomplete');
    tell('login page', {
      heading: await heading(page), goesTo: await page.getByRole('main').textContent(),
      autocomplete: [await field('User name'), await field('Password')], picture: await shoot(page, 'login'),
    });

    const status = await fill(page, 'wrong');
    tell('wrong password', {
      status, alert: await page.getByRole('alert').textContent(), place: place(page),
      kept: [await page.getByLabel('User name').inputValue(), await page.getByLabel('Password').inputValue()],
      picture: await shoot(page, 'wrong'),
    });

    await fill(page);
    tell('consent', {
      heading: await heading(page), scopes: await page.getByRole('listitem').allTextContents(),
      text: await page.getByRole('main').textContent(), picture: await shoot(page, 'consent'),
    });
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${redirectUri}?**`);
    tell('callback', { query: query(page), heading: await heading(page), referrer: await page.evaluate(() => document.referrer) });
    tell('cookies', { cookies: await context.cookies() });

    await page.goto(authorizationUrl('two'));
    tell('second visit', { place: place(page), query: query(page) });
    await page.goto(authorizationUrl('three', { prompt: 'consent' }));
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.waitForURL(`${redirectUri}?**`);
    tell('denied', { query: query(page) });

    const { user_code: code, verification_uri_complete: link } = await device();
    await page.goto(link);
    tell('device', { heading: await heading(page), code: await page.getByRole('textbox').inputValue(), picture: await shoot(page, 'device') });
    await page.getByRole('button', { name: 'Continue' }).click();
    tell('device consent', { shows: (await page.getByRole('main').textContent()).includes(code), picture: await shoot(page, 'device-consent') });
    await page.getByRole('button', { name: 'Allow' }).click();
    tell('device allowed', { heading: await heading(page) });

    const out = `${issuer}/end_session?${new URLSearchParams({ client_id: 'shop', post_logout_redirect_uri: loggedOutUri })}`;
    await page.goto(out);
    tell('logout page', { heading: await heading(page), picture: await shoot(page, 'logout') });
    await page.getByRole('button', { name: 'Stay signed in' }).click();
    tell('stayed', { heading: await heading(page), cookies: (await context.cookies()).length });
    await page.goto(out);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(loggedOutUri);
    tell('logged out', { cookies: (await context.cookies()).map((cookie) => cookie.name) });
    await page.goto(authorizationUrl('four'));
    tell('third visit', { heading: await heading(page) });
    await page.goto(`${issuer}/end_session`);
    tell('nobody to log out', { heading: await heading(page), picture: await shoot(page, 'signed-out') });
    await page.goto(authorizationUrl('five', { client_id: 'nobody' }));
    tell('bad request', { heading: await heading(page), place: place(page), picture: await shoot(page, 'bad-request') });
    tell('trouble', { trouble });
  },

  /** Without a mouse. */
  async keyboard(browser, options) {
    const { page, trouble } = await newPage(browser, options);
    const focused = () => page.evaluate(() => {
      const { activeElement: element } = document;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const name = element.labels?.[0]?.textContent ?? element.textContent;
      return { name: element === document.body ? '' : name.trim(), ring: outlineStyle !== 'none' && outlineWidth !== '0px' };
    });
    const press = async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    const order = async (steps) => {
      const seen = [await focused()];
      for (let step = 0; step < steps; step += 1) {
        await press('Tab');
        seen.push(await focused());
      }
      return seen;
    };
    await page.goto(authorizationUrl('one'));
    tell('login', { order: await order(2) });
    await press('Shift+Tab', 'Shift+Tab');
    await page.keyboard.type(name);
    await press('Tab');
    await page.keyboard.type(password);
    await Promise.all([page.waitForEvent('load'), press('Enter')]);
    tell('consent', { heading: await heading(page), order: await order(2) });
    // Back to the first one.
    await press('Shift+Tab', 'Enter');
    await page.waitForURL(`${redirectUri}?**`);
    tell('callback', { hasCode: 'code' in query(page) });
    await page.goto(`${issuer}/end_session`);
    tell('logout', { order: await order(2) });
    await Promise.all([page.waitForEvent('load'), press('Space')]);
    tell('stayed', { heading: await heading(page), trouble });
  },

  /** On a phone, in the dark. */
  async phone(browser, options) {
    const { page, trouble } = await newPage(browser, { ...options, viewport: { width: 320, height: 640 }, colorScheme: 'dark' });
    await page.goto(authorizationUrl('one'));
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
    const look = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
    tell('login', { wide: await wide(), look: await look(), picture: await shoot(page, 'login') });
    await fill(page);
    tell('consent', { wide: await wide(), look: await look(), picture: await shoot(page, 'consent'), trouble });
  },

  /** A page of another site tries to get between the user and the issuer. */
  async stranger(browser) {
    const { context, page, trouble } = await newPage(browser);
    await page.goto(authorizationUrl('one'));
    await fill(page);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${redirectUri}?**`);
    const before = (await context.cookies(issuer)).length;
    tell('logged in', { trouble: [...trouble] });

    // `localhost` is another site than 127.0.0.1.
    const evil = redirectUri.replace('127.0.0.1', 'localhost');
    const open = async (html) => {
      await page.route(evil, (route) => route.fulfill({ contentType: 'text/html', body: html }));
      await page.goto(evil);
      await page.unroute(evil);
    };
    await open(`<iframe src="${authorizationUrl('two', { prompt: 'consent' })}"></iframe>`);
    await page.waitForTimeout(500);
    const framed = page.frames().find((frame) => frame !== page.mainFrame());
    tell('framed', { buttons: await framed.getByRole('button').count(), url: framed.url() });

    // The first is what an attacker would have of a form of their own: right for another browser.
    const { context: other, page: others } = await newPage(browser);
    await others.goto(authorizationUrl('three'));
    const fields = await others.locator('input[type=hidden]').evaluateAll((all) => all.map((field) => field.outerHTML).join(''));
    await other.close();
    const post = async (path, inside) => {
      await open(`<form method="post" action="${issuer}${path}">${inside}<button>Win</button></form>`);
      const answered = page.waitForResponse((response) => response.request().method() === 'POST');
      await page.getByRole('button').click();
      return (await answered).status();
    };
    const credentials = `<input name="username" value="${name}"><input name="password" value="${password}">`;
    tell('login from elsewhere', { status: await post('/login', fields + credentials), heading: await heading(page) });
    const decision = '<input name="decision" value="allow">';
    tell('consent from elsewhere', {
      status: await post('/consent', fields + decision), place: place(page), heading: await heading(page),
    });
    tell('logout from elsewhere', {
      status: await post('/end_session/decision', '<input name="target" value="logout"><input name="request"><input name="token" value="1.a">' + decision),
    });
    tell('cookies', { kept: (await context.cookies(issuer)).length === before });
    await page.goto(authorizationUrl('four'));
    tell('still logged in', { place: place(page), hasCode: 'code' in query(page) });
  },
};

const browser = await open();
await JOURNEYS[input.journey](browser, input.options ?? {});
await browser.close();
