// What clients do with an authorization server, by one library or the other.
//
// The libraries check what they get: whoever comes to `tell` has passed their checks.
import * as oauth from 'oauth4webapi';
import { input, refusal, tell } from './script.mjs';
import { User } from './user.mjs';

const { connect } = await import(`./${input.library}.mjs`);
const { issuer, redirectUri, secrets, user: { name, password, subject } } = input;

const basic = (id) => ({ method: 'basic', secret: secrets[id] });
const part = (jwt, index) => JSON.parse(Buffer.from(jwt.split('.')[index], 'base64url').toString());
const newUser = () => new User(name, password);

/** Asks the user for a code; `callback` has it, `checks` what the client remembers of its question. */
async function ask(client, { user = newUser(), scope = 'openid orders:read', allows = true, ...more } = {}) {
  const checks = { verifier: client.verifier, state: client.state };
  if (scope.includes('openid')) checks.nonce = client.nonce;
  const { verifier, ...shown } = checks;
  const url = client.authorizationUrl({
    redirect_uri: redirectUri, scope, ...shown, code_challenge: await client.challenge(verifier),
    code_challenge_method: 'S256', ...more,
  });
  const answer = await user.visit(url, { allows });
  return { user, checks, callback: answer.url, page: answer };
}

/** Gets tokens for the user. */
async function login(client, options) {
  const { callback, checks, user } = await ask(client, options);
  return { user, ...await client.code(callback, checks) };
}

const shop = (options) => connect(issuer, 'shop', basic('shop'), options);
const orders = (options) => connect(issuer, 'orders-api', basic('orders-api'), options);

const FLOWS = {
  async discovery() {
    for (const algorithm of ['oidc', 'oauth2']) {
      const { metadata } = await shop({ algorithm });
      tell(algorithm, { metadata });
    }
    // It is the same machine, and not the same name.
    const other = issuer.replace('127.0.0.1', 'localhost');
    tell('another name', await refusal(() => connect(other, 'shop', basic('shop'))));
  },

  async code() {
    for (const [id, proof] of [
      ['shop', basic('shop')],
      ['shop', { method: 'post', secret: secrets.shop }],
      ['web', { method: 'none' }],
      ['signer', { method: 'key', key: await signingKey() }],
    ]) {
      const client = await connect(issuer, id, proof);
      const { callback, checks } = await ask(client);
      const tokens = await client.code(callback, checks);
      const { iss, sub, aud, azp, at_hash: hash } = tokens.claims;
      const access = { header: part(tokens.access_token, 0), claims: part(tokens.access_token, 1) };
      tell(`${id} ${proof.method}`, {
        callbackIss: callback.searchParams.get('iss'), idToken: { iss, sub, aud, azp, hash }, access,
        type: tokens.token_type, lives: tokens.expires_in, scope: tokens.scope,
      });
    }
  },

  async 'code refused'() {
    const client = await shop();
    const wrong = async (change) => {
      const { callback, checks } = await ask(client);
      const changed = change(callback, checks);
      const answer = await refusal(() => client.code(changed.callback ?? callback, { ...checks, ...changed.checks }));
      // Whoever tried has used the code up.
      const again = changed.ours ? undefined : await refusal(() => client.code(callback, checks));
      return { ...answer, again };
    };
    const renamed = (callback, names) => {
      const url = new URL(callback);
      for (const [key, value] of Object.entries(names)) url.searchParams.set(key, value);
      return url;
    };
    tell('wrong verifier', await wrong(() => ({ checks: { verifier: 'A'.repeat(43) } })));
    tell('other redirect_uri', await wrong((callback) => {
      const elsewhere = new URL(callback);
      elsewhere.pathname = '/other';
      return { callback: elsewhere };
    }));
    tell('guessed code', await wrong((callback) => ({ callback: renamed(callback, { code: 'A'.repeat(43) }), ours: true })));
    // These the library refuses, with what the server sent to tell them by.
    tell('other iss', await wrong((callback) => ({ callback: renamed(callback, { iss: 'https://evil.example' }), ours: true })));
    tell('no iss', await wrong((callback) => {
      const url = new URL(callback);
      url.searchParams.delete('iss');
      return { callback: url, ours: true };
    }));
    tell('other state', await wrong(() => ({ checks: { state: 'other' }, ours: true })));
    tell('other nonce', await wrong(() => ({ checks: { nonce: 'other' }, ours: true })));

    const { callback, checks } = await ask(client);
    const tokens = await client.code(callback, checks);
    tell('replayed', await refusal(() => client.code(callback, checks)));
    const reader = await orders();
    tell('after the replay', {
      access: await reader.introspect(tokens.access_token),
      refresh: await refusal(() => client.refresh(tokens.refresh_token)),
    });

    const stranger = await connect(issuer, 'web', { method: 'none' });
    const stolen = await ask(client);
    tell("another client's code", await refusal(() => stranger.code(stolen.callback, stolen.checks)));
  },

  async 'authorization refused'() {
    const client = await shop();
    const denied = await ask(client, { allows: false });
    tell('denied', await refusal(() => client.code(denied.callback, denied.checks)));
    for (const [what, more] of [
      ['no challenge', { code_challenge: '', code_challenge_method: '' }],
      ['plain challenge', { code_challenge_method: 'plain' }],
      ['scope', { scope: 'openid admin' }],
      ['response type', { response_type: 'token' }],
      ['nobody is logged in', { prompt: 'none' }],
    ]) {
      const { callback, checks } = await ask(client, more);
      tell(what, await refusal(() => client.code(callback, checks)));
    }
    // Nobody may be sent there: the user is told.
    tell('redirect_uri', (await ask(client, { redirect_uri: 'https://evil.example/callback' })).page);
    tell('client', (await ask(client, { client_id: 'nobody' })).page);
  },

  async refresh() {
    const client = await shop();
    const reader = await orders();
    const first = await login(client);
    const second = await client.refresh(first.refresh_token);
    const third = await client.refresh(second.refresh_token);
    tell('rotated', {
      different: new Set([first, second, third].map((tokens) => tokens.refresh_token)).size,
      subject: third.claims?.sub, active: (await reader.introspect(third.access_token)).active,
    });
    tell('reused', await refusal(() => client.refresh(first.refresh_token)));
    tell('the newest after it', await refusal(() => client.refresh(third.refresh_token)));
    tell('access tokens after it', {
      active: await Promise.all([first, second, third].map(async (tokens) => (await reader.introspect(tokens.access_token)).active)),
    });
    const other = await login(client);
    const stranger = await connect(issuer, 'web', { method: 'none' });
    tell("another client's", await refusal(() => stranger.refresh(other.refresh_token)));
    tell('still good', { active: (await reader.introspect((await client.refresh(other.refresh_token)).access_token)).active });
  },

  async 'client credentials'() {
    const key = await signingKey();
    for (const [id, proof] of [
      ['worker', basic('worker')], ['worker', { method: 'post', secret: secrets.worker }], ['signer', { method: 'key', key }],
    ]) {
      const client = await connect(issuer, id, proof);
      const tokens = await client.clientCredentials({ scope: 'orders:read', resource: 'orders-api' });
      const { sub, client_id: ours, aud, scope } = part(tokens.access_token, 1);
      tell(`${id} ${proof.method}`, { sub, client: ours, aud, scope, refresh: tokens.refresh_token ?? null });
    }
    const used = { jti: 'once' };
    const again = await connect(issuer, 'signer', { method: 'key', key, claims: used });
    await again.clientCredentials({});
    tell('replayed assertion', await refusal(() => again.clientCredentials({})));
    const claimed = async (claims) => {
      const client = await connect(issuer, 'signer', { method: 'key', key, claims });
      return refusal(() => client.clientCredentials({}));
    };
    tell('assertion for another server', await claimed({ aud: 'https://other.example' }));
    tell('assertion for two servers', await claimed({ aud: [issuer, 'https://other.example'] }));
    tell('expired assertion', await claimed({ iat: 1, nbf: 1, exp: 2 }));
    const forger = await connect(issuer, 'signer', { method: 'key', key: (await oauth.generateKeyPair('ES256')).privateKey });
    tell('forged assertion', await refusal(() => forger.clientCredentials({})));
    for (const method of ['basic', 'post']) {
      const thief = await connect(issuer, 'worker', { method, secret: 'A'.repeat(43) });
      tell(`wrong secret ${method}`, await refusal(() => thief.clientCredentials({})));
    }
    const worker = await connect(issuer, 'worker', basic('worker'));
    tell('foreign scope', await refusal(() => worker.clientCredentials({ scope: 'orders:write' })));
    tell('foreign resource', await refusal(() => worker.clientCredentials({ resource: 'payroll-api' })));
    const web = await connect(issuer, 'web', { method: 'none' });
    tell('public client', await refusal(() => web.clientCredentials({})));
  },

  async exchange() {
    const { access_token: subjectToken } = await login(await shop());
    const service = await orders();
    const type = 'urn:ietf:params:oauth:token-type:access_token';
    const wanted = { subject_token: subjectToken, subject_token_type: type, audience: 'billing-api' };
    const tokens = await service.exchange(wanted);
    const { sub, aud, act, client_id: client } = part(tokens.access_token, 1);
    tell('exchanged', { sub, aud, act, client, issuedType: tokens.issued_token_type, refresh: tokens.refresh_token ?? null });
    // The next service passes it on in turn.
    const billing = await connect(issuer, 'billing-api', basic('billing-api'));
    const next = await billing.exchange({ ...wanted, subject_token: tokens.access_token, audience: 'mail-api' });
    tell('exchanged again', { act: part(next.access_token, 1).act, sub: part(next.access_token, 1).sub });
    tell('foreign audience', await refusal(() => service.exchange({ ...wanted, audience: 'payroll-api' })));
    tell('not for this client', await refusal(() => billing.exchange({ ...wanted, audience: 'mail-api' })));
    tell('no token', await refusal(() => service.exchange({ ...wanted, subject_token: 'word' })));
    const worker = await connect(issuer, 'worker', basic('worker'));
    tell('client without exchange', await refusal(() => worker.exchange(wanted)));
  },

  async device() {
    const client = await connect(issuer, 'tv', { method: 'none' });
    const begin = () => client.device({ scope: 'openid orders:read' });
    const device = await begin();
    const polled = client.poll(device);
    const page = await newUser().visit(device.verification_uri, { answers: { user_code: device.user_code } });
    const tokens = await polled;
    tell('allowed', { page: page.text, sub: tokens.claims?.sub, refresh: typeof tokens.refresh_token, code: device.user_code });
    tell('code again', await refusal(() => client.poll(device)));
    // By the link that has the code in it.
    const second = await begin();
    const denied = refusal(() => client.poll(second));
    await newUser().visit(second.verification_uri_complete, { allows: false, answers: { user_code: second.user_code } });
    tell('denied', await denied);
    tell('guessed', await refusal(() => client.poll({ ...second, device_code: 'A'.repeat(43) })));
    tell('foreign scope', await refusal(() => client.device({ scope: 'admin' })));
  },

  async introspection() {
    const plain = await orders();
    const signed = await orders({ metadata: { introspection_signed_response_alg: 'ES256' } });
    for (const [kind, id] of [['JWT', 'shop'], ['reference', 'reference-shop']]) {
      const tokens = await login(await connect(issuer, id, basic(id)));
      for (const [form, reader] of [['JSON', plain], ['signed', signed]]) {
        const { active, sub, client_id: client, aud, scope, iss } = await reader.introspect(tokens.access_token);
        tell(`${kind} ${form}`, { active, sub, client, aud, scope, iss, isJwt: tokens.access_token.includes('.') });
      }
      // A service that the token was not made for learns nothing.
      const billing = await connect(issuer, 'billing-api', basic('billing-api'));
      tell(`${kind} for another`, await billing.introspect(tokens.access_token));
      // Nor does it of a refresh token.
      tell(`${kind} refresh`, await plain.introspect(tokens.refresh_token));
    }
    tell('unknown', await plain.introspect('word'));
    tell('unknown signed', await signed.introspect('word'));
    const thief = await connect(issuer, 'orders-api', { method: 'basic', secret: 'A'.repeat(43) });
    tell('wrong secret', await refusal(() => thief.introspect('word')));
    const web = await connect(issuer, 'web', { method: 'none' });
    tell('public client', await refusal(() => web.introspect('word')));
  },

  async revocation() {
    const client = await connect(issuer, 'reference-shop', basic('reference-shop'));
    const reader = await orders();
    const active = async (token) => (await reader.introspect(token)).active;
    const one = await login(client);
    await client.revoke(one.access_token);
    const next = await client.refresh(one.refresh_token);
    tell('access token', { active: await active(one.access_token), next: await active(next.access_token) });
    await client.revoke(next.refresh_token);
    tell('refresh token', {
      active: await active(next.access_token), refresh: await refusal(() => client.refresh(next.refresh_token)),
    });
    const jwt = await login(await shop());
    const stranger = await connect(issuer, 'web', { method: 'none' });
    tell("another client's", { ...await refusal(() => stranger.revoke(jwt.access_token)), active: await active(jwt.access_token) });
    await (await shop()).revoke(jwt.access_token);
    tell('JWT', { active: await active(jwt.access_token) });
    await client.revoke('word');
    tell('none at all', { done: true });
  },

  async userinfo() {
    const client = await shop();
    const { access_token: token } = await login(client, { scope: 'openid profile' });
    tell('claims', { claims: await client.userInfo(token, subject) });
    tell('another subject', await refusal(() => client.userInfo(token, 'somebody')));
    tell('no token', await refusal(() => client.userInfo('word', subject)));
    await client.revoke(token);
    tell('revoked', await refusal(() => client.userInfo(token, subject)));
    const { access_token: poor } = await login(client, { scope: 'orders:read' });
    tell('without openid', await refusal(() => client.userInfo(poor, subject)));
  },

  async 'end session'() {
    const client = await shop();
    const { user, id_token: hint, refresh_token: refresh } = await login(client);
    tell('second visit', { code: (await ask(client, { user, prompt: 'none' })).callback.searchParams.has('code') });
    const evil = client.endSessionUrl({ id_token_hint: hint, post_logout_redirect_uri: 'https://evil.example/' });
    tell('foreign address', await user.visit(evil));
    tell('still logged in', { code: (await ask(client, { user, prompt: 'none' })).callback.searchParams.has('code') });
    const out = client.endSessionUrl({ id_token_hint: hint, post_logout_redirect_uri: input.loggedOutUri, state: 's1' });
    tell('logged out', await user.visit(out));
    tell('third visit', { error: (await ask(client, { user, prompt: 'none' })).callback.searchParams.get('error') });
    tell('refresh token after it', await refusal(() => client.refresh(refresh)));
  },

  // The resource server's side of the library: RFC 9068.
  async 'access token'() {
    const client = await shop();
    const { access_token: token } = await login(client);
    const check = (text, audience) => {
      const request = new Request('http://orders.example/', { headers: { authorization: `Bearer ${text}` } });
      return oauth.validateJwtAccessToken(client.metadata, request, audience, { [oauth.allowInsecureRequests]: true });
    };
    const { sub, client_id: id, scope } = await check(token, 'orders-api');
    tell('accepted', { sub, client: id, scope });
    tell('other audience', await refusal(() => check(token, 'billing-api')));
    const { id_token: idToken } = await login(client);
    tell('ID token', await refusal(() => check(idToken, 'shop')));
    const [header, , signature] = token.split('.');
    const forged = Buffer.from(JSON.stringify({ ...part(token, 1), sub: 'root' })).toString('base64url');
    tell('forged', await refusal(() => check(`${header}.${forged}.${signature}`, 'orders-api')));
  },
};

async function signingKey() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  return crypto.subtle.importKey('jwk', input.signingKey, algorithm, false, ['sign']);
}

await FLOWS[input.flow]();
