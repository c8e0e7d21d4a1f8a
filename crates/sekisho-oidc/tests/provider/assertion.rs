//! A client without a secret, which proves itself by what it signs: `private_key_jwt`
//! ([RFC 7523](https://www.rfc-editor.org/rfc/rfc7523), [OIDC Core §9](https://openid.net/specs/openid-connect-core-1_0.html#ClientAuthentication)).

use std::collections::BTreeSet;
use std::sync::Arc;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{Refusal, Reject};
use sekisho_http::HttpRequest;
use sekisho_jwt::jwks::{SigningKey, StaticKeys};
use sekisho_jwt::{Algorithm, Backend, Signer, StatementVerifier};
use sekisho_oidc::ClientCredentials;
use serde_json::{Value, json};

use crate::scripted::{CLIENT, ISSUER, NOW, Scripted, broken, form, header};

fn key() -> SigningKey {
    SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).unwrap().with_kid("shop-2026")
}

fn part(jwt: &str, index: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode_to_vec(jwt.split('.').nth(index).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Is what the provider does with an assertion.
fn verifier(key: &SigningKey, audience: &str) -> StatementVerifier {
    let keys = Arc::new(StaticKeys::new([key.verifying_key()]));
    StatementVerifier::new(CLIENT, audience, keys).unwrap().with_type("JWT")
}

/// Goes through a login, a refresh and a revocation, and returns all that was asked in our name.
async fn asked(credentials: ClientCredentials) -> Vec<HttpRequest> {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata["pushed_authorization_request_endpoint"] = format!("{ISSUER}/par").into();
        metadata
    });
    let provider = op.builder_with(credentials).build().unwrap();
    let tokens = op.login(&provider).await.expect("logged in").tokens;
    provider.refresh(&tokens, "u1", NOW).await.expect("refreshed");
    provider.revoke(tokens.refresh_token.as_ref().unwrap(), NOW).await.expect("revoked");
    ["/par", "/token", "/revoke"].iter().flat_map(|path| op.asked(path)).collect()
}

#[tokio::test]
async fn each_request_has_an_assertion_of_its_own_that_the_provider_can_verify() {
    let (key, other) = (key(), key());
    let requests = asked(ClientCredentials::private_key_jwt(CLIENT, Signer::new(key.clone()))).await;
    assert_eq!(requests.len(), 4, "pushed, code, refresh, revocation");
    let mut ids = BTreeSet::new();
    for request in &requests {
        let form = form(request);
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert!(!form.contains_key("client_secret"), "it has none");
        assert_eq!(header(request, "authorization"), None);

        let assertion = &form["client_assertion"];
        assert_eq!(part(assertion, 0), json!({ "alg": "ES256", "typ": "JWT", "kid": "shop-2026" }));
        let claims = part(assertion, 1);
        let (id, now) = (claims["jti"].as_str().unwrap().to_owned(), NOW.as_secs());
        let wanted = json!({ "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": id });
        assert_eq!(claims, wanted, "for the issuer alone, for a minute, and nothing else");
        assert_eq!(URL_SAFE_NO_PAD.decode_to_vec(&id).unwrap().len(), 16, "128 random bits");
        assert!(ids.insert(id), "an id is good once");

        assert!(verifier(&key, ISSUER).verify(assertion, NOW).await.is_ok());
        for (refusing, jwt, why) in [
            (verifier(&key, ISSUER), broken(assertion), Reject::Signature),
            (verifier(&other, ISSUER), assertion.clone(), Reject::Signature),
            (verifier(&key, "https://other.example"), assertion.clone(), Reject::Audience),
        ] {
            let refused = refusing.verify(&jwt, NOW).await;
            assert!(matches!(&refused, Err(Refusal::Reject(reject)) if *reject == why), "{why:?}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn an_assertion_is_for_another_audience_only_where_that_was_said() {
    let key = key();
    let credentials = ClientCredentials::private_key_jwt(CLIENT, Signer::new(key.clone()));
    let token_endpoint = format!("{ISSUER}/token");
    for request in asked(credentials.with_assertion_audience(&*token_endpoint)).await {
        let assertion = &form(&request)["client_assertion"];
        assert_eq!(part(assertion, 1)["aud"], token_endpoint);
        assert!(verifier(&key, ISSUER).verify(assertion, NOW).await.is_err());
    }
}
