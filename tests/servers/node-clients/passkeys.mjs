// A person with a passkey before the pages of our authorization server, in Chromium with a virtual authenticator.
import { newPage, open, shoot } from './browser.mjs';
import { input, tell } from './script.mjs';

const { issuer, redirectUri, user: { name, password } } = input;
// RFC 7636 appendix B.
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';

const AUTHENTICATOR = {
  protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
  isUserVerified: true, automaticPresenceSimulation: true,
};

const authorizationUrl = () => `${issuer}/authorize?${new URLSearchParams({
  response_type: 'code', client_id: 'shop', redirect_uri: redirectUri, scope: 'openid profile', state: 's',
  code_challenge: CHALLENGE, code_challenge_method: 'S256',
})}`;

const heading = (page) => page.getByRole('heading').textContent();
const alert = (page) => page.getByRole('alert').filter({ visible: true }).first().textContent();

/** Opens a browser with an authenticator. Unless it `offers` passkeys among the user names, each login is by a click. */
async function person(browser, { offers = false } = {}) {
  const { context, page, trouble } = await newPage(browser);
  if (!offers) {
    await page.addInitScript(() => {
      globalThis.PublicKeyCredential.isConditionalMediationAvailable = async () => false;
    });
  }
  const remote = await context.newCDPSession(page);
  await remote.send('WebAuthn.enable');
  const add = async (options = {}) =>
    (await remote.send('WebAuthn.addVirtualAuthenticator', { options: { ...AUTHENTICATOR, ...options } })).authenticatorId;
  return { context, page, trouble, remote, add, authenticatorId: await add() };
}

async function logInByPassword(page) {
  await page.getByLabel('User name').fill(name);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

async function addPasskey(page, label) {
  await page.goto(`${issuer}/account/passkeys/new`);
  if ((await heading(page)) === 'Sign in') await logInByPassword(page);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByLabel('What to call it').fill(label);
  await page.getByRole('button', { name: 'Add a passkey' }).click();
}

const passkeys = (page) => page.locator('li strong').allTextContents();

async function logOut(page) {
  await page.goto(`${issuer}/end_session`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Signed out' }).waitFor();
}

/** Clicks for a passkey, and returns what the server answered to it. */
async function usePasskey(page) {
  const answered = page.waitForResponse((response) => response.url().endsWith('/login/passkey'));
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  return answered;
}

/** Allows the shop what it asks for, and redeems the code that it was sent. */
async function claims(page) {
  await page.getByRole('button', { name: 'Allow' }).click();
  await page.waitForURL(`${redirectUri}?**`);
  const body = new URLSearchParams({
    grant_type: 'authorization_code', client_id: 'shop', code_verifier: VERIFIER, redirect_uri: redirectUri,
    code: new URL(page.url()).searchParams.get('code'),
  });
  const tokens = await (await fetch(`${issuer}/token`, { method: 'POST', body })).json();
  return JSON.parse(Buffer.from(tokens.id_token.split('.')[1], 'base64url').toString());
}

async function logIn(page) {
  await page.goto(authorizationUrl());
  await usePasskey(page);
  return claims(page);
}

async function refused(page) {
  const status = (await usePasskey(page)).status();
  await page.waitForLoadState();
  return { status, alert: await alert(page), heading: await heading(page) };
}

const JOURNEYS = {
  async whole(browser) {
    const { page, trouble, remote, authenticatorId } = await person(browser);
    await page.goto(authorizationUrl());
    tell('without a passkey', {
      button: await page.getByRole('button', { name: 'Sign in with a passkey' }).isVisible(),
      autocomplete: await page.getByLabel('User name').getAttribute('autocomplete'),
      picture: await shoot(page, 'login'),
    });
    await addPasskey(page, 'My laptop');
    await page.getByRole('heading', { name: 'Your passkeys' }).waitFor();
    tell('added', { passkeys: await passkeys(page), picture: await shoot(page, 'list') });
    const { credentials } = await remote.send('WebAuthn.getCredentials', { authenticatorId });
    tell('in the authenticator', {
      credentials: credentials.map(({ rpId, isResidentCredential, userHandle }) =>
        ({ rpId, isResidentCredential, user: Buffer.from(userHandle, 'base64').toString() })),
    });
    const alone = await page.goto(`${issuer}/account/passkeys/new`);
    tell('by the password alone', { status: alone.status(), heading: await heading(page) });
    await logOut(page);

    await page.goto(authorizationUrl());
    const answer = await usePasskey(page);
    const body = answer.request().postData();
    tell('logged in', { claims: await claims(page) });
    await addPasskey(page, 'My laptop again');
    await page.locator('[data-failed]').waitFor({ state: 'visible' });
    await page.goto(`${issuer}/account/passkeys`);
    tell('added again', { failed: true, count: (await passkeys(page)).length });
    await logOut(page);

    // The same answer again, in a new form of the same browser.
    await page.goto(authorizationUrl());
    await page.evaluate((sent) => {
      const form = document.querySelector('form[data-passkey]');
      for (const field of ['ticket', 'response']) form.elements[field].value = new URLSearchParams(sent).get(field);
    }, body);
    const answered = page.waitForResponse((response) => response.url().endsWith('/login/passkey'));
    await page.evaluate(() => HTMLFormElement.prototype.submit.call(document.querySelector('form[data-passkey]')));
    const status = (await answered).status();
    await page.waitForLoadState();
    tell('replayed', { status, alert: await alert(page) });
    tell('trouble', { trouble });
  },

  async removed(browser) {
    const { page } = await person(browser);
    await addPasskey(page, 'Lost key');
    await page.getByRole('heading', { name: 'Your passkeys' }).waitFor();
    await logOut(page);
    tell('before', { claims: await logIn(page) });
    await page.goto(`${issuer}/account/passkeys`);
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Done' }).waitFor();
    tell('removed', { heading: await heading(page) });
    await page.goto(authorizationUrl());
    tell('logged out', { heading: await heading(page) });
    tell('after', { ...(await refused(page)), picture: await shoot(page, 'refused') });
  },

  async unverified(browser) {
    const { page, remote, authenticatorId } = await person(browser);
    await addPasskey(page, 'Key');
    await page.getByRole('heading', { name: 'Your passkeys' }).waitFor();
    await logOut(page);
    const verify = (isUserVerified) => remote.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified });
    await verify(false);
    await page.goto(authorizationUrl());
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
    await page.locator('[data-failed]').waitFor({ state: 'visible' });
    tell('asked for verification', { failed: true, heading: await heading(page), picture: await shoot(page, 'failed') });
    // Whoever has the browser in their hands can ask the authenticator for less than we do.
    const ask = (userVerification) => page.evaluate((wanted) => {
      const form = document.querySelector('form[data-passkey]');
      form.dataset.options = JSON.stringify({ ...JSON.parse(form.dataset.options), userVerification: wanted });
    }, userVerification);
    await page.goto(authorizationUrl());
    await ask('discouraged');
    tell('not asked', await refused(page));
    await verify(true);
    tell('verified', { claims: await logIn(page) });
  },

  async copied(browser) {
    const { page, remote, add, authenticatorId } = await person(browser);
    await addPasskey(page, 'Key');
    await page.getByRole('heading', { name: 'Your passkeys' }).waitFor();
    await logOut(page);
    const { credentials: [copy] } = await remote.send('WebAuthn.getCredentials', { authenticatorId });
    tell('original', { claims: await logIn(page) });
    await logOut(page);
    await remote.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId });
    const { credentialId, isResidentCredential, rpId, privateKey, userHandle, signCount } = copy;
    const put = async (count) => {
      const id = await add();
      const credential = { credentialId, isResidentCredential, rpId, privateKey, userHandle, signCount: count };
      await remote.send('WebAuthn.addCredential', { authenticatorId: id, credential });
      return id;
    };
    const behind = await put(signCount);
    await page.goto(authorizationUrl());
    tell('copy', await refused(page));
    await remote.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId: behind });
    await put(signCount + 100);
    tell('ahead', { claims: await logIn(page) });
  },

  /** The authenticator takes what is offered among the user names by itself, as if it were chosen. */
  async offered(browser) {
    const { page, trouble } = await person(browser, { offers: true });
    await addPasskey(page, 'Key');
    await page.getByRole('heading', { name: 'Your passkeys' }).waitFor();
    await logOut(page);
    await page.goto(authorizationUrl());
    tell('logged in', { claims: await claims(page), trouble });
  },

  async scriptless(browser) {
    const { page } = await newPage(browser, { javaScriptEnabled: false });
    await page.goto(authorizationUrl());
    const visible = await page.getByRole('button').filter({ visible: true }).allTextContents();
    tell('login page', { buttons: visible, failures: await page.getByRole('alert').filter({ visible: true }).count() });
    await logInByPassword(page);
    tell('logged in', { claims: await claims(page) });
  },
};

const browser = await open();
await JOURNEYS[input.journey](browser);
await browser.close();
