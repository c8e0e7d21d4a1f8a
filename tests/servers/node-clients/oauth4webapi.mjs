// oauth4webapi, a certified client library close to the wire, behind the calls that flows.mjs makes.
import * as oauth from 'oauth4webapi';

const INSECURE = { [oauth.allowInsecureRequests]: true };

const AUTHENTICATION = {
  none: () => oauth.None(),
  basic: ({ secret }) => oauth.ClientSecretBasic(secret),
  post: ({ secret }) => oauth.ClientSecretPost(secret),
  key: ({ key, claims = {} }) => oauth.PrivateKeyJwt(key, {
    [oauth.modifyAssertion]: (_, payload) => Object.assign(payload, claims),
  }),
};

export async function connect(issuer, id, proof, { algorithm = 'oidc', metadata = {} } = {}) {
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { algorithm: algorithm === 'oidc' ? 'oidc' : 'oauth2', ...INSECURE });
  const as = await oauth.processDiscoveryResponse(url, found);
  const client = { client_id: id, ...metadata };
  const authentication = AUTHENTICATION[proof.method](proof);
  const signed = async (response, result) => {
    if (result.id_token) await oauth.validateApplicationLevelSignature(as, response, INSECURE);
    return { ...result, claims: oauth.getValidatedIdTokenClaims(result) };
  };
  return {
    metadata: as,
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
    challenge: (verifier) => oauth.calculatePKCECodeChallenge(verifier),
    authorizationUrl: (parameters) => {
      const to = new URL(as.authorization_endpoint);
      to.search = new URLSearchParams({ response_type: 'code', client_id: id, ...parameters });
      return to;
    },
    code: async (callback, { verifier, state, nonce }) => {
      const parameters = oauth.validateAuthResponse(as, client, callback, state);
      const redirect = `${callback.origin}${callback.pathname}`;
      const response = await oauth.authorizationCodeGrantRequest(
        as, client, authentication, parameters, redirect, verifier, INSECURE,
      );
      const options = { expectedNonce: nonce, requireIdToken: nonce !== undefined };
      return signed(response, await oauth.processAuthorizationCodeResponse(as, client, response, options));
    },
    refresh: async (token) => {
      const response = await oauth.refreshTokenGrantRequest(as, client, authentication, token, INSECURE);
      return signed(response, await oauth.processRefreshTokenResponse(as, client, response));
    },
    clientCredentials: async (parameters) => {
      const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, parameters, INSECURE);
      return oauth.processClientCredentialsResponse(as, client, response);
    },
    exchange: async (parameters) => {
      const type = 'urn:ietf:params:oauth:grant-type:token-exchange';
      const response = await oauth.genericTokenEndpointRequest(as, client, authentication, type, parameters, INSECURE);
      return oauth.processGenericTokenEndpointResponse(as, client, response);
    },
    device: async (parameters) => {
      const response = await oauth.deviceAuthorizationRequest(as, client, authentication, parameters, INSECURE);
      return oauth.processDeviceAuthorizationResponse(as, client, response);
    },
    poll: async (device) => {
      for (let wait = device.interval; ;) {
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
        const response = await oauth.deviceCodeGrantRequest(as, client, authentication, device.device_code, INSECURE);
        try {
          return await signed(response, await oauth.processDeviceCodeResponse(as, client, response));
        } catch (error) {
          if (error.error === 'slow_down') wait += 5;
          else if (error.error !== 'authorization_pending') throw error;
        }
      }
    },
    introspect: async (token) => {
      const options = { requestJwtResponse: metadata.introspection_signed_response_alg !== undefined, ...INSECURE };
      const response = await oauth.introspectionRequest(as, client, authentication, token, options);
      const answer = await oauth.processIntrospectionResponse(as, client, response);
      if (options.requestJwtResponse) await oauth.validateApplicationLevelSignature(as, response, INSECURE);
      return answer;
    },
    revoke: async (token) => {
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, authentication, token, INSECURE));
    },
    userInfo: async (token, subject) => {
      const response = await oauth.userInfoRequest(as, client, token, INSECURE);
      return oauth.processUserInfoResponse(as, client, subject, response);
    },
    endSessionUrl: (parameters) => {
      const to = new URL(as.end_session_endpoint);
      to.search = new URLSearchParams({ client_id: id, ...parameters });
      return to;
    },
  };
}
