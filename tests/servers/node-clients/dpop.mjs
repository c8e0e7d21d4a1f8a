// A client by oauth4webapi with a DPoP-bound token of Keycloak, before a service of ours (RFC 9449).
import * as oauth from 'oauth4webapi';
import { input, tell } from './script.mjs';

const { issuer, service, plainService, nonceService } = input;
const INSECURE = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);
const as = await oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, INSECURE));
const client = { client_id: 'worker-dpop' };
const authentication = oauth.ClientSecretPost('worker-dpop-secret');

/** Gets a token; with `DPoP` one that is bound to its key. */
async function token(DPoP) {
  const parameters = { scope: 'orders:read' };
  const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, parameters, { DPoP, ...INSECURE });
  return oauth.processClientCredentialsResponse(as, client, response);
}

/** Calls the service, and says what it answered and by which proof. */
async function call(accessToken, DPoP, { to = service, method = 'GET' } = {}) {
  let proof;
  const options = {
    DPoP, ...INSECURE,
    [oauth.customFetch]: (address, request) => {
      proof = new Headers(request.headers).get('dpop');
      return fetch(address, request);
    },
  };
  const answered = (response) => ({
    status: response.status, challenge: response.headers.get('www-authenticate'), proof,
  });
  try {
    return answered(await oauth.protectedResourceRequest(accessToken, method, new URL(to), undefined, null, options));
  } catch (error) {
    if (!error.response) throw error;
    return { ...answered(error.response), isNonceError: oauth.isDPoPNonceError(error) };
  }
}

const keys = await oauth.generateKeyPair('ES256');
const DPoP = oauth.DPoP(client, keys);
const { access_token: bound, token_type: type } = await token(DPoP);
tell('token', { type, token: bound, thumbprint: await DPoP.calculateThumbprint() });

tell('accepted', await call(bound, DPoP));
tell('accepted again, with a new proof', await call(bound, DPoP));
tell('as a bearer token', await call(bound));

const spoiled = (change) => oauth.DPoP(client, keys, { [oauth.modifyAssertion]: (header, claims) => change(header, claims) });
const now = () => Math.floor(Date.now() / 1000);
for (const [name, change] of [
  ['stale', (_, claims) => { claims.iat = now() - 120; }],
  ['from the future', (_, claims) => { claims.iat = now() + 120; }],
  ['other URL', (_, claims) => { claims.htu = claims.htu.replace('/orders', '/me'); }],
  ['other method', (_, claims) => { claims.htm = 'POST'; }],
  ['other token', (_, claims) => { claims.ath = claims.ath.split('').reverse().join(''); }],
  ['other type', (header) => { header.typ = 'JWT'; }],
]) {
  tell(name, await call(bound, spoiled(change)));
}
tell('proof of another key', await call(bound, oauth.DPoP(client, await oauth.generateKeyPair('ES256'))));
tell('service without DPoP', await call(bound, DPoP, { to: plainService }));

// A service that demands its own nonce: the library hears it with the refusal.
tell('without a nonce', await call(bound, DPoP, { to: nonceService }));
tell('with the nonce', await call(bound, DPoP, { to: nonceService }));

const { access_token: other } = await token(oauth.DPoP(client, await oauth.generateKeyPair('PS256')));
tell('token of another key', await call(other, DPoP));
for (const alg of ['PS256', 'ES384']) {
  const handle = oauth.DPoP(client, await oauth.generateKeyPair(alg));
  tell(`accepted by ${alg}`, await call((await token(handle)).access_token, handle));
}
try {
  tell('unbound', { token: (await token()).access_token });
} catch (error) {
  tell('unbound', { error: error.error });
}
