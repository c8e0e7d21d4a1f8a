//! Our introspection asks real authorization servers: oidc-provider, JSON and signed, and Keycloak.

use std::time::{Duration, Instant};

use sekisho_core::{FailureKind, Refusal, Reject};
use sekisho_jwks::Discovery;
use sekisho_opaque::{ClientCredentials, Introspection, IntrospectionBuilder, Opaque};

use crate::control::Control;
use crate::keycloak::{AUDIENCE, Keycloak};
use crate::provider::{OidcProvider, TURN};
use crate::setup::now;

fn basic(client: &str) -> ClientCredentials {
    ClientCredentials::basic(client, format!("{client}-secret"))
}

/// Begins an introspection that asks the provider each time.
fn asking(provider: &OidcProvider, credentials: ClientCredentials) -> IntrospectionBuilder {
    Opaque::introspect(format!("{}/token/introspection", provider.issuer()), credentials)
        .issuer(provider.issuer())
        .audience("orders-api")
        // Its clients have no `sub`.
        .with_client_as_subject()
        .with_negative_cache(Duration::ZERO)
}

async fn reject(introspection: &Introspection, token: &str) -> Reject {
    match introspection.introspect(token, now()).await {
        Err(Refusal::Reject(reject)) => reject,
        other => panic!("not refused: {other:?}"),
    }
}

async fn failure(introspection: &Introspection, token: &str) -> FailureKind {
    match introspection.introspect(token, now()).await {
        Err(Refusal::Failure(failure)) => failure.kind(),
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn plain_and_signed_answers_name_the_client_until_the_token_is_revoked() {
    let Some(provider) = OidcProvider::reach("introspection of oidc-provider") else { return };
    let _turn = TURN.read().await;
    let signed = |client: &str| {
        let keys = Discovery::oidc(provider.issuer());
        asking(&provider, basic(client)).with_signed_answers(keys).build().expect("an introspection")
    };
    let post = ClientCredentials::post("orders-api-post", "orders-api-post-secret");
    for (what, introspection) in [
        ("JSON", asking(&provider, basic("orders-api")).build().expect("an introspection")),
        ("JSON, secret in the form", asking(&provider, post).build().expect("an introspection")),
        ("RS256", signed("orders-api")),
        ("ES256", signed("orders-api-es256")),
    ] {
        let token = provider.token("worker", "urn:orders-api").await;
        let principal = introspection.introspect(&token, now()).await;
        let principal = principal.unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        assert_eq!((principal.subject(), principal.client()), ("worker", Some("worker")), "{what}");
        assert_eq!(principal.issuer(), provider.issuer(), "{what}");
        assert!(principal.has_scope("orders:read") && !principal.has_scope("orders:write"), "{what}");

        assert!(matches!(reject(&introspection, "no-such-token").await, Reject::Inactive), "{what}");
        let billing = provider.token("worker", "urn:billing-api").await;
        assert!(matches!(reject(&introspection, &billing).await, Reject::Audience), "{what}");
        // Without an audience it was made for nobody, and not for us.
        let unbound = provider.token("worker", "").await;
        reject(&introspection, &unbound).await;
        provider.revoke("worker", &token).await;
        assert!(matches!(reject(&introspection, &token).await, Reject::Inactive), "{what}");
    }
}

#[tokio::test]
async fn a_cached_answer_outlives_a_revocation_by_its_lifetime_at_most() {
    const LIFE: Duration = Duration::from_secs(2);
    let Some(provider) = OidcProvider::reach("cached introspection of oidc-provider") else { return };
    let _turn = TURN.read().await;
    let obedient = asking(&provider, basic("orders-api")).cache_for(LIFE).build().expect("an introspection");
    // The provider writes `no-store` under everything.
    let stubborn = asking(&provider, basic("orders-api"))
        .cache_for(LIFE)
        .dangerous_cache_despite_headers()
        .build()
        .expect("an introspection");
    let token = provider.token("worker", "urn:orders-api").await;
    for introspection in [&obedient, &stubborn] {
        introspection.introspect(&token, now()).await.expect("a good token");
    }
    assert!(obedient.introspect_now(&token, now()).is_none(), "`no-store` is obeyed");
    let asked = Instant::now();
    provider.revoke("worker", &token).await;
    assert!(matches!(reject(&obedient, &token).await, Reject::Inactive));
    while stubborn.introspect(&token, now()).await.is_ok() {
        // A second more, because lifetimes are whole seconds.
        assert!(asked.elapsed() <= LIFE + Duration::from_secs(1), "kept for {:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("a revocation was noticed after {:.1?}, kept for {LIFE:?}", asked.elapsed());

    let token = provider.token("worker", "urn:orders-api").await;
    stubborn.introspect(&token, now()).await.expect("a good token");
    provider.revoke("worker", &token).await;
    stubborn.purge(&token);
    assert!(matches!(reject(&stubborn, &token).await, Reject::Inactive), "told of the revocation, it forgets");
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let Some(provider) = OidcProvider::reach("introspection of an expired token") else { return };
    let _turn = TURN.read().await;
    let introspection = asking(&provider, basic("orders-api")).build().expect("an introspection");
    let token = provider.token("brief-worker", "urn:orders-api").await;
    introspection.introspect(&token, now()).await.expect("a good token");
    let issued = Instant::now();
    while introspection.introspect(&token, now()).await.is_ok() {
        // It lives 5 s.
        assert!(issued.elapsed() < Duration::from_secs(10), "still good");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(matches!(reject(&introspection, &token).await, Reject::Inactive | Reject::Expired { .. }));
}

#[tokio::test]
async fn our_wrong_credentials_are_not_held_against_the_caller() {
    let Some(provider) = OidcProvider::reach("introspection with wrong credentials") else { return };
    let _turn = TURN.read().await;
    let token = provider.token("worker", "urn:orders-api").await;
    for (what, credentials) in [
        ("a wrong secret", ClientCredentials::basic("orders-api", "wrong")),
        ("a wrong secret in the form", ClientCredentials::post("orders-api-post", "wrong")),
        ("an unknown client", ClientCredentials::basic("nobody", "wrong")),
    ] {
        let introspection = asking(&provider, credentials).build().expect("an introspection");
        for token in [&*token, "no-such-token"] {
            assert_eq!(failure(&introspection, token).await, FailureKind::BadGateway, "{what}");
        }
    }
    // Right credentials, but nobody can tell whether the answer is the provider's.
    let keys = Discovery::oidc("http://127.0.0.1:1");
    let blind = asking(&provider, basic("orders-api")).with_signed_answers(keys).build().expect("an introspection");
    assert_eq!(failure(&blind, &token).await, FailureKind::Unavailable, "keys that cannot be had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_provider_is_unavailable_and_returns_by_itself() {
    let test = "introspection while oidc-provider is dead";
    let Some(control) = Control::reach(test) else { return };
    let Some(provider) = OidcProvider::reach(test) else { return };
    let _turn = TURN.write().await;
    let keys = Discovery::oidc(provider.issuer());
    let plain = asking(&provider, basic("orders-api")).build().expect("an introspection");
    let signed = asking(&provider, basic("orders-api")).with_signed_answers(keys).build().expect("an introspection");
    let token = provider.token("worker", "urn:orders-api").await;
    for introspection in [&plain, &signed] {
        introspection.introspect(&token, now()).await.expect("a good token");
    }
    let outage = control.kill("oidc-provider");
    for introspection in [&plain, &signed] {
        for token in [&*token, "no-such-token"] {
            assert_eq!(failure(introspection, token).await, FailureKind::Unavailable);
        }
        let refusal = introspection.introspect(&token, now()).await.expect_err("nobody passes");
        let Refusal::Failure(failure) = refusal else { panic!("{refusal:?}") };
        assert!(failure.retry_after().is_some(), "{failure:?}");
    }
    outage.end();
    let back = Instant::now();
    assert!(matches!(reject(&plain, &token).await, Reject::Inactive), "it has forgotten its tokens");
    let token = provider.token("worker", "urn:orders-api").await;
    plain.introspect(&token, now()).await.expect("a good token");
    println!("plain answers were taken {:.1?} after the return", back.elapsed());
    // It has new keys under the old names, which no issuer should do: they are fetched once, and believed.
    signed.introspect(&token, now()).await.expect("a good token by a new key");
}

#[tokio::test]
async fn keycloak_answers_about_its_tokens() {
    let Some(keycloak) = Keycloak::reach("introspection of Keycloak").await else { return };
    let ask = |credentials| {
        Opaque::introspect(format!("{}/protocol/openid-connect/token/introspect", keycloak.issuer()), credentials)
            .issuer(keycloak.issuer())
            .audience(AUDIENCE)
            .with_profile(sekisho_jwt::Profile::keycloak())
            .with_roles_at("/realm_access/roles")
            .with_negative_cache(Duration::ZERO)
            // Keycloak's access tokens are JWTs.
            .also_jwts()
            .build()
            .expect("an introspection")
    };
    let introspection = ask(basic(AUDIENCE));
    for client in ["worker", "worker-at", "worker-es256"] {
        let token = keycloak.client_token(client, "orders:read").await;
        let principal = introspection.introspect(&token, now()).await;
        let principal = principal.unwrap_or_else(|refusal| panic!("{client}: {refusal:?}"));
        assert_eq!(principal.client(), Some(client));
        assert!(principal.has_scope("orders:read") && principal.has_role("service"), "{principal:?}");
        reject(&introspection, &crate::setup::altered(&token, 1)).await;
        reject(&introspection, &crate::setup::altered(&token, 2)).await;
    }
    let token = keycloak.client_token("worker", "orders:read").await;
    reject(&introspection, "no-such-token").await;
    reject(&introspection, &keycloak.client_token("worker-billing", "").await).await;
    reject(&introspection, &keycloak.admin_token().await).await;
    let grant = keycloak.password_grant("alice", "orders:read").await;
    introspection.introspect(&grant.access, now()).await.expect("a good token");
    reject(&introspection, &grant.id).await;
    reject(&introspection, &grant.refresh).await;
    let wrong = ask(ClientCredentials::basic(AUDIENCE, "wrong"));
    assert_eq!(failure(&wrong, &token).await, FailureKind::BadGateway);
}
