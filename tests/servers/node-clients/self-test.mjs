// Shows that scripts and the browser are under control.
import { input, tell } from './script.mjs';

if (input.fail) throw new Error(input.fail);
const { launchServer, newPage, open, shoot } = await import('./browser.mjs');
if (input.launch) tell('browser', { pid: (await launchServer()).process().pid });
if (input.hang) await new Promise((resolve) => setTimeout(resolve, 1e9));
const browser = await open();
const { page, trouble } = await newPage(browser);
await page.setContent(input.html);
tell('page', { heading: await page.textContent('h1'), trouble });
tell('screenshot', { file: await shoot(page, 'page') });
const policy = { 'content-security-policy': "default-src 'none'" };
await page.route('http://page.example/', (route) => route.fulfill({
  contentType: 'text/html', headers: policy, body: '<style>h1 { color: red }</style><script>throw 1</script><h1>Breach</h1>',
}));
await page.goto('http://page.example/');
await page.waitForTimeout(100);
tell('breach', { trouble });
await browser.close();
