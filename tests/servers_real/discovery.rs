//! Both forms of Keycloak's discovery document, and a name that is not quite the issuer's.

use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::FailureKind;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse, ReqwestClient};
use sekisho_jwks::{Discovery, KeyHealth, RemoteKeys};
use sekisho_jwt::{Jwt, Profile, Refusal, Reject};

use crate::keycloak::{AUDIENCE, Keycloak};
use crate::service::Service;
use crate::setup::now;

/// Sends like any other client, and writes down what was asked for.
#[derive(Debug)]
struct Recording {
    inner: ReqwestClient,
    urls: Mutex<Vec<String>>,
}

impl Recording {
    fn new() -> Arc<Self> {
        let inner = ReqwestClient::new(Duration::from_secs(1)).expect("a client");
        Arc::new(Self { inner, urls: Mutex::default() })
    }

    fn urls(&self) -> Vec<String> {
        self.urls.lock().unwrap().clone()
    }
}

#[async_trait]
impl HttpClient for Recording {
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.urls.lock().unwrap().push(request.url.clone());
        self.inner.send(request, limits).await
    }
}

#[tokio::test]
async fn the_keys_are_found_by_both_forms_of_discovery_and_by_their_own_address() {
    let Some(keycloak) = Keycloak::reach("discovery").await else { return };
    let (url, issuer) = (keycloak.url(), keycloak.issuer());
    let certs = format!("{issuer}/protocol/openid-connect/certs");
    let oidc = format!("{issuer}/.well-known/openid-configuration");
    let oauth = format!("{url}/.well-known/oauth-authorization-server/realms/sekisho");
    let token = keycloak.client_token("worker", "").await;
    let cases = [
        (keycloak.jwt().with_keys(Discovery::oidc(&*issuer)), vec![oidc.clone(), certs.clone()]),
        (keycloak.jwt().with_keys(Discovery::oauth(&*issuer)), vec![oauth, certs.clone()]),
        (keycloak.jwt(), vec![oidc, certs.clone()]),
        (keycloak.jwt().with_keys(RemoteKeys::new(&*certs)), vec![certs.clone()]),
    ];
    for (builder, expected) in cases {
        let client = Recording::new();
        let verifier = builder.with_http_client(client.clone()).build().expect("a verifier");
        verifier.verify(&token, now()).await.expect("a good token");
        assert_eq!(client.urls(), expected);
        let health = verifier.health(now());
        assert!(matches!(health.as_slice(), [(_, KeyHealth::Fresh { keys })] if *keys >= 1), "{health:?}");
    }
}

#[tokio::test]
async fn a_slash_too_many_in_the_issuer_is_refused_and_named_in_the_failure() {
    let Some(keycloak) = Keycloak::reach("an issuer that does not match").await else { return };
    let token = keycloak.client_token("worker", "").await;
    let with_slash = format!("{}/", keycloak.issuer());
    for keys in [Discovery::oidc(&*with_slash), Discovery::oauth(&*with_slash), Discovery::new(&*with_slash)] {
        // The verifier would take the token's `iss`; it is the document that has to refuse.
        let jwt = Jwt::issuer(keycloak.issuer()).audience(AUDIENCE).with_profile(Profile::keycloak()).with_keys(keys);
        let verifier = jwt.build().expect("a verifier");
        let Err(Refusal::Failure(failure)) = verifier.verify(&token, now()).await else { panic!("not a failure") };
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        let reason = failure.source().expect("a reason").to_string();
        assert!(reason.contains(&format!("\"{}\"", keycloak.issuer())), "{reason}");
        assert!(reason.contains("not the one configured"), "{reason}");
        let health = verifier.health(now());
        assert!(matches!(health.as_slice(), [(_, KeyHealth::Unavailable)]), "{health:?}");
        let answer = Service::start(verifier).await.get("/me", &token).await;
        assert_eq!((answer.status, answer.challenge.as_str()), (503, ""), "{answer:?}");
        assert!(answer.retry_after.is_some(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_issuer_that_differs_by_a_slash_is_another_issuer_to_the_verifier_too() {
    let Some(keycloak) = Keycloak::reach("an issuer with a slash").await else { return };
    let token = keycloak.client_token("worker", "").await;
    let keys = Discovery::oidc(keycloak.issuer());
    let verifier = Jwt::issuer(format!("{}/", keycloak.issuer())).audience(AUDIENCE).with_keys(keys).build();
    let result = verifier.expect("a verifier").verify(&token, now()).await;
    assert!(matches!(result, Err(Refusal::Reject(Reject::Issuer))), "{result:?}");
}
