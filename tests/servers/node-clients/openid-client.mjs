// openid-client, a certified client library, behind the calls that flows.mjs makes.
import * as client from 'openid-client';

const AUTHENTICATION = {
  none: () => client.None(),
  basic: ({ secret }) => client.ClientSecretBasic(secret),
  post: ({ secret }) => client.ClientSecretPost(secret),
  // `claims`: what is to stand in the assertion in place of what the library chose.
  key: ({ key, claims = {} }) => client.PrivateKeyJwt(key, {
    [client.modifyAssertion]: (_, payload) => Object.assign(payload, claims),
  }),
};

export async function connect(issuer, id, proof, { algorithm = 'oidc', metadata = {} } = {}) {
  const config = await client.discovery(new URL(issuer), id, metadata, AUTHENTICATION[proof.method](proof), {
    algorithm,
    execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
  });
  const grant = (tokens) => ({ ...tokens, claims: tokens.claims() });
  return {
    metadata: config.serverMetadata(),
    verifier: client.randomPKCECodeVerifier(),
    state: client.randomState(),
    nonce: client.randomNonce(),
    challenge: (verifier) => client.calculatePKCECodeChallenge(verifier),
    authorizationUrl: (parameters) => client.buildAuthorizationUrl(config, { response_type: 'code', client_id: id, ...parameters }),
    code: async (callback, { verifier, state, nonce }) => grant(await client.authorizationCodeGrant(config, callback, {
      pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: nonce !== undefined,
    })),
    refresh: async (token) => grant(await client.refreshTokenGrant(config, token)),
    clientCredentials: (parameters) => client.clientCredentialsGrant(config, parameters),
    exchange: (parameters) => client.genericGrantRequest(config, 'urn:ietf:params:oauth:grant-type:token-exchange', parameters),
    device: (parameters) => client.initiateDeviceAuthorization(config, parameters),
    poll: async (device) => grant(await client.pollDeviceAuthorizationGrant(config, device)),
    introspect: (token) => client.tokenIntrospection(config, token),
    revoke: (token) => client.tokenRevocation(config, token),
    userInfo: (token, subject) => client.fetchUserInfo(config, token, subject),
    endSessionUrl: (parameters) => client.buildEndSessionUrl(config, parameters),
  };
}
