// The shop's own script. It keeps one token in each place, and uses each as such pages do.
const COOKIE = '__Host-readable';
const CSRF = { 'x-csrf': '1' };
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const orders = async (way, headers = {}) => (await fetch(`${way}/orders`, { headers })).status;

async function newToken(query = '') {
  const answer = await fetch(`/token${query}`, { method: 'POST', headers: CSRF });
  return (await answer.json()).access_token;
}

/** Keeps one token in Web storage. */
const inStorage = (storage) => ({
  keep: async () => storage.setItem('token', await newToken()),
  has: async () => storage.getItem('token') !== null,
  use: () => orders('/api/bearer', bearer(storage.getItem('token'))),
  forget: async () => storage.removeItem('token'),
});

/** Keeps it in a variable that no other script has a name for. */
function inMemory() {
  let token;
  return {
    keep: async () => { token = await newToken(); },
    has: async () => token !== undefined,
    use: () => orders('/api/bearer', bearer(token)),
    forget: async () => { token = undefined; },
  };
}

function inWorker() {
  const worker = new Worker('/worker.js');
  const ask = (work) => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => { port1.close(); resolve(data); };
    worker.postMessage(work, [port2]);
  });
  return { keep: () => ask('logIn'), has: () => ask('has'), use: () => ask('orders'), forget: () => ask('logOut') };
}

/** Keeps a token that is bound to a key (RFC 9449), and the key, which no script can take out of the browser. */
function bound() {
  const base64url = (bytes) =>
    btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  const encode = (text) => new TextEncoder().encode(text);
  const sha256 = async (text) => base64url(await crypto.subtle.digest('SHA-256', encode(text)));
  const ES256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

  async function jwkOf({ publicKey }) {
    const { crv, kty, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
    return { crv, kty, x, y }; // the order of RFC 7638
  }
  async function proof(keys, token, method, url) {
    const claims = {
      jti: crypto.randomUUID(), htm: method, htu: url, iat: Math.floor(Date.now() / 1000), ath: await sha256(token),
    };
    const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: await jwkOf(keys) };
    const signed = [header, claims].map((part) => base64url(encode(JSON.stringify(part)))).join('.');
    return `${signed}.${base64url(await crypto.subtle.sign(ES256, keys.privateKey, encode(signed)))}`;
  }
  const store = (mode, work) => new Promise((resolve, reject) => {
    const opening = indexedDB.open('shop', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('kept');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const asked = work(opening.result.transaction('kept', mode).objectStore('kept'));
      asked.onsuccess = () => { opening.result.close(); resolve(asked.result); };
      asked.onerror = () => { opening.result.close(); reject(asked.error); };
    };
  });
  const kept = () => store('readonly', (place) => place.get('bound'));
  return {
    async keep() {
      const keys = await crypto.subtle.generateKey(ES256, false, ['sign']);
      const token = await newToken(`?jkt=${await sha256(JSON.stringify(await jwkOf(keys)))}`);
      await store('readwrite', (place) => place.put({ keys, token }, 'bound'));
    },
    has: async () => (await kept()) !== undefined,
    async use() {
      const { keys, token } = await kept();
      const url = new URL('/api/bearer/orders', location).href;
      return orders('/api/bearer', { authorization: `DPoP ${token}`, dpop: await proof(keys, token, 'GET', url) });
    },
    forget: () => store('readwrite', (place) => place.delete('bound')),
  };
}

const PLACES = {
  // The server has set these two at the login; no script sees them, so only their use shows that they are there.
  session: { keep: async () => {}, has: async () => (await orders('/bff')) === 200, use: () => orders('/bff'), forget: async () => {} },
  cookie: {
    keep: async () => {}, has: async () => (await orders('/api/cookie')) === 200, use: () => orders('/api/cookie'),
    forget: async () => {},
  },
  bound: bound(),
  worker: inWorker(),
  memory: inMemory(),
  sessionStorage: inStorage(sessionStorage),
  localStorage: inStorage(localStorage),
  readable: {
    keep: async () => { document.cookie = `${COOKIE}=${await newToken()}; Path=/; Secure; SameSite=Strict`; },
    has: async () => document.cookie.includes(`${COOKIE}=`),
    use: () => orders('/api/readable'),
    forget: async () => { document.cookie = `${COOKIE}=; Path=/; Secure; SameSite=Strict; Max-Age=0`; },
  },
};

const cell = (place, name) => document.querySelector(`tr[data-place="${place}"] [data-cell="${name}"]`);
const say = (text) => { document.querySelector('[role=status]').textContent = text; };

async function look() {
  for (const [place, { has }] of Object.entries(PLACES)) cell(place, 'here').textContent = (await has()) ? 'yes' : 'no';
}

const BUTTONS = {
  async 'log-in'() {
    await fetch('/login', { method: 'POST', headers: CSRF });
    for (const { keep } of Object.values(PLACES)) await keep();
    await look();
    say('You are alice, and each place has a token.');
  },
  async use() {
    const answers = [];
    for (const [place, { use }] of Object.entries(PLACES)) answers.push(`${place} ${await use()}`);
    say(`The API answers: ${answers.join(', ')}.`);
  },
  async 'show-comments'() {
    const list = document.querySelector('#comments');
    const isUnsafe = list.dataset.shown === 'as HTML';
    for (const comment of await (await fetch('/comments')).json()) {
      const item = list.appendChild(document.createElement('li'));
      if (isUnsafe) item.innerHTML = comment; // the mistake, on purpose
      else item.textContent = comment;
    }
    say('Here are the comments, below.');
  },
  async 'log-out'() {
    await fetch('/logout', { method: 'POST', headers: CSRF });
    for (const { forget } of Object.values(PLACES)) await forget();
    await look();
    say('You are logged out, and this browser has forgotten every token.');
    document.dispatchEvent(new Event('logged-out'));
  },
};

for (const [id, work] of Object.entries(BUTTONS)) document.getElementById(id).addEventListener('click', work);
await look();
document.documentElement.dataset.ready = 'yes';
