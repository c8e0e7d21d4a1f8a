// An OpenID provider for tests: node server.mjs PORT. tests/servers/README.md says what it holds.
import { generateKeyPairSync } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

function key(alg, type, options) {
  const jwk = generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: alg.toLowerCase() };
}

function client(id, more = {}) {
  const grants = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
  return { client_id: id, client_secret: `${id}-secret`, ...grants, ...more };
}

// What `resource=` of a token request may name. Without it a token is opaque and has no audience.
const resources = {
  'urn:orders-api': { audience: 'orders-api', accessTokenFormat: 'opaque' },
  'urn:billing-api': { audience: 'billing-api', accessTokenFormat: 'opaque' },
  'urn:orders-api:rs256': { audience: 'orders-api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
  'urn:orders-api:es256': { audience: 'orders-api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
  'urn:orders-api:eddsa': { audience: 'orders-api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'EdDSA' } } },
};

const scopes = ['orders:read', 'orders:write'];

const provider = new Provider(issuer, {
  jwks: {
    keys: [
      key('RS256', 'rsa', { modulusLength: 2048 }),
      key('ES256', 'ec', { namedCurve: 'P-256' }),
      key('EdDSA', 'ed25519', {}),
    ],
  },
  clients: [
    client('worker'),
    client('brief-worker'),
    client('orders-api', { introspection_signed_response_alg: 'RS256' }),
    client('orders-api-es256', { introspection_signed_response_alg: 'ES256' }),
    client('orders-api-post', { token_endpoint_auth_method: 'client_secret_post' }),
  ],
  scopes,
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  enabledJWA: { introspectionSigningAlgValues: ['RS256', 'ES256'] },
  ttl: {
    ClientCredentials: (_context, token, client) => token.resourceServer?.accessTokenTTL ?? lifetime(client),
    AccessToken: (_context, token, client) => token.resourceServer?.accessTokenTTL ?? lifetime(client),
  },
  // It would send nothing to this machine, where the clients of tests are.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  // Whoever logs in consents to everything.
  async loadExistingGrant({ oidc }) {
    const grantId = oidc.result?.consent?.grantId ?? oidc.session.grantIdFor(oidc.client.clientId);
    if (grantId) return oidc.provider.Grant.find(grantId);
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope(`openid ${scopes.join(' ')}`);
    grant.addResourceScope('urn:orders-api:rs256', scopes.join(' '));
    await grant.save();
    return grant;
  },
  // A refresh token without the scope for it, which ends with the session here and is good once.
  issueRefreshToken: (_context, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  features: {
    // Pages where anybody logs in by any password.
    devInteractions: { enabled: true },
    // Where people come back to is known to a test alone, so it registers its clients itself.
    registration: { enabled: true, initialAccessToken: 'registration-token' },
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    // Only services may ask about tokens, each about anybody's.
    introspection: { enabled: true, allowedPolicy: (_context, client) => client.clientId.startsWith('orders-api') },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_context, client) => (client.grantTypeAllowed('authorization_code') ? 'urn:orders-api:rs256' : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo(_context, resource, client) {
        const known = resources[resource];
        if (!known) throw new errors.InvalidTarget();
        return { scope: scopes.join(' '), accessTokenTTL: lifetime(client), ...known };
      },
    },
  },
});

function lifetime(client) {
  return client.clientId === 'brief-worker' || client.clientName === 'brief' ? 5 : 300;
}

provider.on('server_error', (_context, error) => console.error(error));
provider.on('backchannel.error', (_context, error, client) => console.error(client.clientId, error));
provider.listen(port, '127.0.0.1', () => console.log(`ready at ${issuer}`));
