// A person whose token is in a cookie that a gateway reads.
import { newPage, open, shoot } from './browser.mjs';
import { form, isAsked, signIn } from './provider.mjs';
import { input, tell } from './script.mjs';

const { gateway } = input;

const browser = await open();
const { context, page } = await newPage(browser);
const call = (path, options = {}) => page.evaluate(async ([to, how]) => {
  const answer = await fetch(to, how);
  const text = await answer.text();
  return { status: answer.status, ...(text.startsWith('{') ? { seen: JSON.parse(text) } : {}) };
}, [path, options]);
/** Asks as a program does that has the browser's cookies and no page; `headers` outweigh them. */
const program = async (path, headers = {}) => {
  const answer = await context.request.get(`${gateway}${path}`, { headers, maxRedirects: 0 });
  return { status: answer.status(), ...(answer.ok() ? { seen: await answer.json() } : {}) };
};
const ours = async () => (await context.cookies()).filter((cookie) => cookie.name.startsWith('__Host-'));
/** Sends a form from a page at `origin`, and returns the answer to it. */
async function send(origin, path) {
  await page.goto(origin);
  await page.setContent(`<form method=post action="${gateway}${path}"><button>Prize</button></form>`);
  const answered = page.waitForResponse((response) => response.request().method() === 'POST');
  // Whatever comes of it, or the next page would meet it on its way.
  const shown = page.waitForEvent('framenavigated');
  await page.getByRole('button', { name: 'Prize' }).click();
  await shown;
  return answered;
}

tell('nobody', await program('/orders/7'));
await page.goto(input.leadsToLogin ? `${gateway}/orders/7?from=mail` : `${gateway}/login?return_to=${encodeURIComponent('/orders/7?from=mail')}`);
tell('asked', { asked: await isAsked(page) });
await signIn(page);
const cookies = await ours();
tell('logged in', {
  url: page.url(), seen: JSON.parse(await page.locator('body').textContent()), readable: await page.evaluate(() => document.cookie),
  cookies: cookies.map(({ value, ...rest }) => ({ ...rest, length: value.length })), picture: await shoot(page, 'logged-in'),
});
tell('other service', await call('/stock/3'));
tell('own form', await call('/orders/8', { method: 'POST', body: 'a=b' }));
tell('with the cookie alone', await program('/orders/7'));

// Another site's page, and one of the same site.
for (const [name, origin] of Object.entries({ 'another site': input.stranger, 'the same site': input.sibling })) {
  const answer = await send(origin, '/orders/9');
  tell(name, { status: answer.status(), sent: ((await answer.request().allHeaders()).cookie ?? '').includes('__Host-token') });
}
tell('the same site logs out', { status: (await send(input.sibling, '/logout')).status() });

// A copy of the cookie, as somebody has it who could read it.
const copy = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
await send(`${gateway}/orders/7`, '/logout');
await page.locator(form.logout).click();
await page.waitForURL(`${gateway}/`);
tell('logged out', { url: page.url(), cookies: await ours() });
tell('nobody again', await program('/orders/7'));
tell('a copy', await program('/orders/7', { cookie: copy }));
await page.goto(input.leadsToLogin ? `${gateway}/orders/7` : `${gateway}/login`);
tell('asked again', { asked: await isAsked(page) });
await browser.close();
