// A person whose token is in a cookie that a gateway reads.
import { newPage, open, shoot } from './browser.mjs';
import { isAsked, signIn } from './provider.mjs';
import { input, tell } from './script.mjs';

const { gateway } = input;

const browser = await open();
const { context, page } = await newPage(browser);
const call = (path, options = {}) => page.evaluate(async ([to, how]) => {
  const answer = await fetch(to, how);
  const text = await answer.text();
  return { status: answer.status, ...(text.startsWith('{') ? { seen: JSON.parse(text) } : {}) };
}, [path, options]);

const early = await page.goto(`${gateway}/orders/7`);
tell('nobody', { status: early.status() });
await page.goto(`${gateway}/login?return_to=${encodeURIComponent('/orders/7?from=mail')}`);
tell('asked', { asked: await isAsked(page) });
await signIn(page);
const cookies = (await context.cookies()).filter((cookie) => cookie.name.startsWith('__Host-'));
tell('logged in', {
  url: page.url(), seen: JSON.parse(await page.locator('body').textContent()), readable: await page.evaluate(() => document.cookie),
  cookies: cookies.map(({ value, ...rest }) => ({ ...rest, length: value.length })), picture: await shoot(page, 'logged-in'),
});
tell('other service', await call('/stock/3'));
tell('own form', await call('/orders/8', { method: 'POST', body: 'a=b' }));

// Another site's page, and one of the same site.
for (const [name, origin] of Object.entries({ 'another site': input.stranger, 'the same site': input.sibling })) {
  await page.goto(origin);
  const answered = page.waitForResponse((response) => response.request().method() === 'POST');
  await page.setContent(`<form method=post action="${gateway}/orders/9"><button>Prize</button></form>`);
  await page.getByRole('button', { name: 'Prize' }).click();
  tell(name, { status: (await answered).status(), sent: ((await (await answered).request().allHeaders()).cookie ?? '').includes('__Host-token') });
}
await page.goto(`${gateway}/orders/7`);
tell('logged out', await call('/logout', { method: 'POST' }));
tell('nobody again', await call('/orders/7'));
await browser.close();
