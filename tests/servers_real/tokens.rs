//! Every kind of token that Keycloak makes, before every profile that could meet it.

use std::collections::BTreeSet;
use std::time::Duration;

use sekisho_jwt::{Jwt, Principal, Profile, Refusal, Reject, Verifier};

use crate::keycloak::{AUDIENCE, Keycloak};
use crate::setup::{altered, header, now, part};

async fn verify(verifier: &Verifier, token: &str) -> Result<Principal, Reject> {
    match verifier.verify(token, now()).await {
        Ok(verified) => Ok(verified.into_inner()),
        Err(Refusal::Reject(reject)) => Err(reject),
        Err(Refusal::Failure(failure)) => panic!("{failure:?}"),
    }
}

fn with_profile(keycloak: &Keycloak, profile: Profile) -> Verifier {
    Jwt::issuer(keycloak.issuer()).audience(AUDIENCE).with_profile(profile).build().expect("a verifier")
}

fn roles(principal: &Principal) -> BTreeSet<&str> {
    principal.roles().iter().map(|role| &**role).collect()
}

#[tokio::test]
async fn a_token_by_client_credentials_says_who_called() {
    let Some(keycloak) = Keycloak::reach("tokens by client credentials").await else { return };
    let verifier = keycloak.jwt().build().expect("a verifier");
    let token = keycloak.client_token("worker", "orders:read orders:write").await;
    assert_eq!((&*header(&token, "alg"), &*header(&token, "typ")), ("RS256", "JWT"));
    let principal = verify(&verifier, &token).await.expect("a good token");
    assert_eq!(principal.issuer(), keycloak.issuer());
    assert_eq!(Some(principal.subject()), part(&token, 1)["sub"].as_str());
    assert_eq!(principal.client(), Some("worker"));
    assert_eq!(principal.audiences(), [AUDIENCE]);
    assert_eq!(principal.scopes().collect::<BTreeSet<_>>(), BTreeSet::from(["orders:read", "orders:write"]));
    assert_eq!(roles(&principal), BTreeSet::from(["export", "service"]));
    assert_eq!(principal.authentication_context().as_deref(), Some("1"));
    assert_eq!(principal.expires_at().map(|at| at.as_secs()), part(&token, 1)["exp"].as_u64());
    assert_eq!(verifier.cached_tokens(), 1);
    assert_eq!(verify(&verifier, &token).await, Ok(principal));
}

#[tokio::test]
async fn a_token_by_the_password_grant_speaks_for_the_user() {
    let Some(keycloak) = Keycloak::reach("tokens by the password grant").await else { return };
    let verifier = keycloak.jwt().build().expect("a verifier");
    let alice = verify(&verifier, &keycloak.password_grant("alice", "orders:write").await.access).await.expect("alice");
    let bob = verify(&verifier, &keycloak.password_grant("bob", "orders:read").await.access).await.expect("bob");
    assert_ne!(alice, bob);
    assert_eq!((alice.client(), bob.client()), (Some("shop"), Some("shop")));
    assert!(alice.has_role("clerk") && alice.has_role("approve"), "{:?}", alice.roles());
    assert!(!bob.has_role("clerk") && !bob.has_role("approve"), "{:?}", bob.roles());
    assert!(alice.has_scope("orders:write") && !alice.has_scope("orders:read"));
    assert!(bob.has_scope("orders:read") && !bob.has_scope("orders:write"));
    // Keycloak adds `account` to `aud` for users; one match is enough.
    assert!(alice.audiences().iter().any(|audience| audience == "account"), "{:?}", alice.audiences());
    assert!(alice.session_id().is_some());
}

#[tokio::test]
async fn each_profile_takes_the_types_it_names() {
    let Some(keycloak) = Keycloak::reach("profiles").await else { return };
    let jwt = keycloak.client_token("worker", "").await;
    let at_jwt = keycloak.client_token("worker-at", "").await;
    assert_eq!((&*header(&jwt, "typ"), &*header(&at_jwt, "typ")), ("JWT", "at+jwt"));
    for profile in [Profile::keycloak(), Profile::compatible()] {
        let verifier = with_profile(&keycloak, profile);
        for token in [&jwt, &at_jwt] {
            assert!(verify(&verifier, token).await.is_ok());
        }
    }
    let strict = with_profile(&keycloak, Profile::rfc9068());
    assert_eq!(verify(&strict, &at_jwt).await.expect("RFC 9068").client(), Some("worker-at"));
    assert_eq!(verify(&strict, &jwt).await, Err(Reject::Type));
    let entra = with_profile(&keycloak, Profile::entra());
    assert_eq!(verify(&entra, &at_jwt).await, Err(Reject::Type));
    let cognito = with_profile(&keycloak, Profile::cognito());
    assert_eq!(verify(&cognito, &jwt).await, Err(Reject::TokenUse));
}

#[tokio::test]
async fn a_key_that_is_published_with_its_first_use_is_fetched_for_its_first_token() {
    let Some(keycloak) = Keycloak::reach("an ES256 key that is not published before its first use").await else {
        return;
    };
    keycloak.forget_es256().await;
    let verifier = keycloak.jwt().build().expect("a verifier");
    let known = keycloak.client_token("worker", "").await;
    verify(&verifier, &known).await.expect("the RSA key is loaded");
    let token = keycloak.client_token("worker-es256", "orders:read").await;
    assert_eq!(header(&token, "alg"), "ES256");
    assert!(verifier.verify_now(&token, now()).is_none(), "the key cannot be in memory yet");
    let principal = verify(&verifier, &token).await.expect("fetched");
    assert_eq!(principal.client(), Some("worker-es256"));
    let again = keycloak.client_token("worker-es256", "").await;
    assert!(verifier.verify_now(&again, now()).expect("the key is in memory now").is_ok());
}

#[tokio::test]
async fn a_lightweight_token_carries_who_and_for_what_but_no_roles() {
    let Some(keycloak) = Keycloak::reach("lightweight tokens").await else { return };
    let verifier = keycloak.jwt().build().expect("a verifier");
    let token = keycloak.client_token("worker-light", "orders:read").await;
    let claims = part(&token, 1);
    assert!(claims.get("realm_access").is_none() && claims.get("client_id").is_none(), "not lightweight: {claims}");
    let principal = verify(&verifier, &token).await.expect("a good token");
    assert_eq!(principal.client(), Some("worker-light"));
    assert!(principal.has_scope("orders:read"));
    assert!(principal.roles().is_empty());
}

#[tokio::test]
async fn id_and_refresh_tokens_are_no_access_tokens() {
    let Some(keycloak) = Keycloak::reach("ID and refresh tokens").await else { return };
    let grant = keycloak.password_grant("alice", "orders:write").await;
    // With the audience that the ID token has, so that nothing but its use can be held against it.
    for profile in [Profile::keycloak(), Profile::compatible()] {
        let jwt = Jwt::issuer(keycloak.issuer()).audience(AUDIENCE).with_audience("shop").with_profile(profile);
        let verifier = jwt.build().expect("a verifier");
        assert!(verify(&verifier, &grant.access).await.is_ok());
        assert_eq!(verify(&verifier, &grant.id).await, Err(Reject::TokenUse));
        // Refresh tokens are signed with a secret of Keycloak's own.
        assert_eq!(verify(&verifier, &grant.refresh).await, Err(Reject::Algorithm));
    }
    assert_eq!(verify(&with_profile(&keycloak, Profile::rfc9068()), &grant.id).await, Err(Reject::Type));
}

#[tokio::test]
async fn tokens_of_others_are_refused() {
    let Some(keycloak) = Keycloak::reach("tokens for others and of others").await else { return };
    let verifier = keycloak.jwt().build().expect("a verifier");
    let billing = keycloak.client_token("worker-billing", "orders:read").await;
    assert_eq!(verify(&verifier, &billing).await, Err(Reject::Audience));
    let other_realm = keycloak.admin_token().await;
    assert_eq!(verify(&verifier, &other_realm).await, Err(Reject::UnknownKey));
    // The same keys under another name: the host by which Keycloak was asked is part of the issuer.
    let by_name = Jwt::issuer(keycloak.issuer().replace("127.0.0.1", "localhost")).audience(AUDIENCE);
    let by_name = by_name.build().expect("a verifier");
    let token = keycloak.client_token("worker", "").await;
    assert_eq!(verify(&by_name, &token).await, Err(Reject::Issuer));
    assert!(verify(&verifier, &token).await.is_ok());
}

#[tokio::test]
async fn a_changed_or_expired_token_is_refused() {
    let Some(keycloak) = Keycloak::reach("changed and expired tokens").await else { return };
    let verifier = keycloak.jwt().build().expect("a verifier");
    for client in ["worker", "worker-es256"] {
        let token = keycloak.client_token(client, "").await;
        assert!(verify(&verifier, &token).await.is_ok());
        for part in [1, 2] {
            assert_eq!(verify(&verifier, &altered(&token, part)).await, Err(Reject::Signature), "part {part}");
        }
        // It lives for 300 s, and the leeway is 60 s; the cache must not know better.
        let late = now().saturating_add(Duration::from_secs(400));
        let result = verifier.verify(&token, late).await;
        assert!(matches!(result, Err(Refusal::Reject(Reject::Expired { .. }))), "{result:?}");
    }
}
