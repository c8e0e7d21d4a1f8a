// A person before the login pages of providers that others wrote.
import { input } from './script.mjs';

const FORMS = {
  keycloak: { name: '#username', password: '#password', button: '#kc-login', logout: '#kc-logout' },
  'oidc-provider': {
    name: 'input[name=login]', password: 'input[name=password]', button: 'button[type=submit]', logout: 'button[value=yes]',
  },
};
export const form = FORMS[input.provider];

/** Says whether an address is not the provider's. */
export const isAway = (url) => !String(url).startsWith(input.issuer);

/** Says whether the provider asks who this is. */
export async function isAsked(page) {
  if (isAway(page.url())) return false;
  await page.locator(form.password).waitFor();
  return true;
}

/** Says who this is, to a provider that asks, and waits until the browser has left it. */
export async function signIn(page, who = 'alice') {
  await page.locator(form.password).waitFor();
  const name = page.locator(form.name);
  // Who logs in again is known there.
  if (await name.isVisible()) await name.fill(who);
  await page.locator(form.password).fill(`${who}-password`);
  await page.locator(form.button).click();
  const left = page.waitForURL(isAway);
  const consent = page.getByRole('button', { name: 'Continue' });
  await Promise.race([left, consent.click().then(() => left)]);
  await page.waitForLoadState();
}
