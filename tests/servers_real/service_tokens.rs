//! Tokens for calls between services, of a real Keycloak and of our own issuer.

use std::sync::Arc;

use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use sekisho_core::{Authenticate as _, Clock as _, Credential, FailureKind, Principal, Secret, UnixSeconds};
use sekisho_jwt::{Backend, Dpop, DpopSigner, Jwt, NonceKeys, Profile};
use sekisho_oidc::{
    AllowedOrigins, ClientCredentials, ServiceTokenMiddleware, ServiceTokens, ServiceTokensBuilder, TokenError,
    TokenRequest,
};
use sekisho_testkit::FixedClock;

use crate::keycloak::{AUDIENCE, Keycloak};
use crate::own_issuer::{self, OwnIssuer};
use crate::service::Service;
use crate::setup::{self, now, part};

fn at_keycloak(keycloak: &Keycloak, client: &str) -> ServiceTokensBuilder {
    let credentials = ClientCredentials::basic(client, format!("{client}-secret"));
    ServiceTokens::at(keycloak.token_endpoint("sekisho"), keycloak.issuer(), credentials)
}

fn text(token: &sekisho_oidc::ServiceToken) -> &str {
    token.secret().expose_str().expect("text")
}

fn own() -> TokenRequest {
    TokenRequest::client_credentials().with_scope("orders:read")
}

/// Calls `service` alone, as middleware of a client.
fn client(tokens: &ServiceTokens, service: &Service, wanted: Option<TokenRequest>) -> ClientWithMiddleware {
    let origins = AllowedOrigins::new([&*service.at("")]).expect("origins");
    let middleware = ServiceTokenMiddleware::new(tokens.clone(), origins);
    let middleware = wanted.into_iter().fold(middleware, ServiceTokenMiddleware::with_default);
    ClientBuilder::new(setup::http()).with(middleware).build()
}

async fn alice(keycloak: &Keycloak) -> (Principal, String) {
    let bearer = keycloak.password_grant("alice", "orders:read").await.access;
    let verifier = keycloak.jwt().build().expect("a verifier");
    let caller = verifier.authenticate(Credential::bearer(&bearer), now()).await.expect("a caller");
    (caller, bearer)
}

#[tokio::test]
async fn a_service_gets_keycloaks_tokens_of_its_own_and_another_takes_them() {
    let Some(keycloak) = Keycloak::reach("client credentials at Keycloak").await else { return };
    let tokens = at_keycloak(&keycloak, "worker").build().unwrap();
    let (first, again) = (tokens.token(&own(), now()).await.unwrap(), tokens.token(&own(), now()).await.unwrap());
    assert_eq!(text(&first), text(&again), "kept");
    assert!(first.expires_at().unwrap() <= UnixSeconds::new(now().as_secs() + 300));
    assert_eq!(first.scope(), Some("orders:read"));

    let orders = Service::start(keycloak.jwt().build().unwrap()).await;
    let answer = client(&tokens, &orders, Some(own())).get(orders.at("/orders")).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let wrong = ClientCredentials::basic("worker", "wrong");
    let wrong = ServiceTokens::at(keycloak.token_endpoint("sekisho"), keycloak.issuer(), wrong).build().unwrap();
    let error = wrong.token(&own(), now()).await.unwrap_err();
    assert!(matches!(&error, TokenError::Failure(f) if f.kind() == FailureKind::Misconfigured), "{error:?}");
    let other = TokenRequest::client_credentials().with_scope("no-such-scope");
    let error = tokens.token(&other, now()).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused("invalid_scope")), "{error:?}");
}

#[tokio::test]
async fn a_token_that_a_service_no_longer_takes_is_replaced_at_keycloak() {
    let Some(keycloak) = Keycloak::reach("a refused token at Keycloak").await else { return };
    // Only the service knows that the token is over.
    let clock = FixedClock::at(now());
    let tokens = at_keycloak(&keycloak, "worker").with_clock(Arc::new(clock.clone())).build().unwrap();
    let first = tokens.token(&own(), clock.now()).await.unwrap();
    clock.advance(std::time::Duration::from_secs(10));
    let verifier = keycloak.jwt().with_revocation(Arc::new(Revoked(text(&first).to_owned()))).build().unwrap();
    let orders = Service::start(verifier).await;
    let answer = client(&tokens, &orders, Some(own())).get(orders.at("/orders")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_ne!(text(&tokens.token(&own(), clock.now()).await.unwrap()), text(&first));
}

/// Withdraws this one token.
struct Revoked(String);

impl sekisho_core::RevocationCheck for Revoked {
    fn is_revoked(&self, principal: &Principal, _: UnixSeconds) -> Result<bool, sekisho_core::Failure> {
        let id = principal.claims().get("jti").and_then(|id| id.as_str());
        Ok(id.as_deref() == part(&self.0, 1)["jti"].as_str())
    }
}

#[tokio::test]
async fn a_service_exchanges_the_callers_token_at_keycloak_for_the_next_service() {
    let Some(keycloak) = Keycloak::reach("token exchange at Keycloak").await else { return };
    let (caller, bearer) = alice(&keycloak).await;
    let tokens = at_keycloak(&keycloak, AUDIENCE).build().unwrap();
    let wanted = TokenRequest::on_behalf_of(&caller, &*bearer).with_audience("billing-api").with_scope("orders:read");
    let token = tokens.token(&wanted, now()).await.unwrap();
    let claims = part(text(&token), 1);
    assert_eq!(claims["sub"], caller.subject(), "{claims}");
    assert_eq!(claims["azp"], AUDIENCE, "{claims}");
    assert!(token.expires_at() <= caller.expires_at());
    assert_eq!(text(&tokens.token(&wanted, now()).await.unwrap()), text(&token), "kept");

    let at_billing =
        Jwt::issuer(keycloak.issuer()).audience("billing-api").with_profile(Profile::keycloak()).build().unwrap();
    let billing = Service::start(at_billing).await;
    assert_eq!(billing.get("/orders", &bearer).await.status, 401, "the caller's own token is for orders");
    let http = client(&tokens, &billing, None);
    let answer = http.get(billing.at("/orders")).with_extension(wanted.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    tokens.purge_subject(&caller.id());
    assert_eq!(tokens.kept(), 0);
}

#[tokio::test]
async fn keycloak_exchanges_nothing_that_it_should_not() {
    let Some(keycloak) = Keycloak::reach("refused token exchange at Keycloak").await else { return };
    let (caller, bearer) = alice(&keycloak).await;
    let exchange = |token: &str| TokenRequest::exchange(token).with_audience("billing-api");
    let tokens = at_keycloak(&keycloak, AUDIENCE).build().unwrap();
    let foreign = keycloak.client_token("worker-billing", "").await;
    for (why, request) in [
        ("made for another service", exchange(&foreign)),
        ("altered", exchange(&setup::altered(&bearer, 1))),
        ("no token", exchange("word")),
        ("an unknown scope", exchange(&bearer).with_scope("payroll")),
    ] {
        let error = tokens.token(&request, now()).await.unwrap_err();
        assert!(matches!(error, TokenError::Grant | TokenError::Refused(_)), "{why}: {error:?}");
    }
    // Keycloak says `invalid_client` of an audience that it does not know.
    let unknown = TokenRequest::on_behalf_of(&caller, &*bearer).with_audience("payroll-api");
    let error = tokens.token(&unknown, now()).await.unwrap_err();
    assert!(matches!(&error, TokenError::Failure(f) if f.kind() == FailureKind::Misconfigured), "{error:?}");
    let worker = at_keycloak(&keycloak, "worker").build().unwrap();
    let error = worker.token(&exchange(&bearer), now()).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused(_)), "a client without leave to exchange: {error:?}");
}

#[tokio::test]
async fn tokens_of_keycloak_are_bound_to_our_key_and_a_service_asks_for_its_nonce() {
    let Some(keycloak) = Keycloak::reach("DPoP of service tokens at Keycloak").await else { return };
    let signer = DpopSigner::generate(Backend::default()).unwrap();
    let tokens = at_keycloak(&keycloak, "worker-dpop").with_dpop(signer.clone()).build().unwrap();
    let token = tokens.token(&own(), now()).await.unwrap();
    assert!(token.is_dpop());
    assert_eq!(part(text(&token), 1)["cnf"]["jkt"], signer.thumbprint());

    let nonces = NonceKeys::new(Secret::from("0123456789abcdef0123456789abcdef"));
    let orders = Service::start_at_its_url(keycloak.jwt().with_dpop(Dpop::new().with_nonces(nonces))).await;
    let http = client(&tokens, &orders, Some(own()));
    for _ in 0..3 {
        let answer = http.get(orders.at("/orders?page=1")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(orders.get("/orders", text(&token)).await.status, 401, "stolen, it is worth nothing");

    // Without a key Keycloak gives this client nothing; and a client of bearer tokens gets bound ones if it asks with a proof.
    let error = at_keycloak(&keycloak, "worker-dpop").build().unwrap().token(&own(), now()).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused(_) | TokenError::Failure(_)), "{error:?}");
    let worker = at_keycloak(&keycloak, "worker").with_dpop(signer.clone()).build().unwrap();
    let token = worker.token(&own(), now()).await.unwrap();
    assert_eq!(part(text(&token), 1)["cnf"]["jkt"], signer.thumbprint());
}

#[tokio::test]
async fn our_own_issuer_gives_services_tokens_and_exchanges_them() {
    let issuer = OwnIssuer::start().await;
    let at_issuer = |client: &str| {
        let credentials = ClientCredentials::basic(client, own_issuer::secret(client));
        ServiceTokens::at(format!("{}/token", issuer.url), &*issuer.url, credentials).build().unwrap()
    };
    let worker = at_issuer("worker").token(&own(), now()).await.unwrap();
    let verifier = Jwt::issuer(&*issuer.url).audience("orders-api").build().unwrap();
    let caller = verifier.authenticate(Credential::bearer(text(&worker)), now()).await.unwrap();

    // The orders service was called by the worker, and calls billing in its name.
    let orders = at_issuer("orders-api");
    let wanted = TokenRequest::on_behalf_of(&caller, text(&worker)).with_audience("billing-api");
    let token = orders.token(&wanted, now()).await.unwrap();
    let claims = part(text(&token), 1);
    assert_eq!((&claims["aud"], &claims["sub"]), (&"billing-api".into(), &"worker".into()), "{claims}");
    assert_eq!(claims["act"]["sub"], "orders-api", "{claims}");
    assert!(token.expires_at() <= caller.expires_at());

    for request in [
        TokenRequest::on_behalf_of(&caller, text(&worker)).with_audience("payroll-api"),
        TokenRequest::exchange("word"),
        TokenRequest::exchange(text(&token)).with_audience("billing-api"),
        TokenRequest::exchange(text(&worker)).with_actor_token(text(&worker)),
    ] {
        let error = orders.token(&request, now()).await.unwrap_err();
        assert!(matches!(error, TokenError::Refused(_) | TokenError::Grant), "{error:?}");
    }
    let error = at_issuer("worker").token(&TokenRequest::exchange(text(&worker)), now()).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused("unauthorized_client")), "{error:?}");
}
