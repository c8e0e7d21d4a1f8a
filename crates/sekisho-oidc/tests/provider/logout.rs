//! Logging out on both sides.

use std::sync::Arc;

use sekisho_core::{Claim, FailureKind, Refusal, Reject};
use sekisho_jwt::MemoryReplayGuard;
use sekisho_testkit::TokenBuilder;
use serde_json::json;

use crate::scripted::{CLIENT, ISSUER, NOW, Scripted, broken};

/// Begins an honest logout token.
pub(crate) fn token(op: &Scripted) -> TokenBuilder {
    op.issuer
        .token()
        .typ("logout+jwt")
        .audience(CLIENT)
        .without_claim("client_id")
        .claim("sid", "s1")
        .claim("exp", NOW.as_secs() + 120)
        .claim("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}))
}

async fn reject(op: &Arc<Scripted>, token: &str) -> Reject {
    match op.provider().logout_notice(token, NOW).await {
        Err(Refusal::Reject(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_logout_token_names_a_session_or_a_subject() {
    let op = Scripted::new();
    let provider = op.provider();
    let notice = provider.logout_notice(&token(&op).without_claim("sid").sign(), NOW).await.expect("a notice");
    assert_eq!((notice.sid, notice.subject.as_deref()), (None, Some("u1")));
    let notice = provider.logout_notice(&token(&op).without_claim("sub").sign(), NOW).await.expect("a notice");
    assert_eq!((notice.sid.as_deref(), notice.subject), (Some("s1"), None));
    let nobody = token(&op).without_claim("sub").without_claim("sid").sign();
    assert_eq!(reject(&op, &nobody).await, Reject::Missing(Claim::Subject));
    for (name, claim) in [("sub", Claim::Subject), ("sid", Claim::Session), ("jti", Claim::TokenId)] {
        for value in [json!(""), json!(1), json!(null), json!(["a"])] {
            assert_eq!(reject(&op, &token(&op).claim(name, value).sign()).await, Reject::Invalid(claim), "{name}");
        }
    }
    assert_eq!(reject(&op, &token(&op).without_claim("jti").sign()).await, Reject::Missing(Claim::TokenId));
    assert_eq!(reject(&op, &token(&op).claim("jti", "j".repeat(257)).sign()).await, Reject::Invalid(Claim::TokenId));
}

#[tokio::test]
async fn a_logout_token_is_young() {
    let op = Scripted::new();
    assert_eq!(reject(&op, &token(&op).without_claim("iat").sign()).await, Reject::Missing(Claim::IssuedAt));
    assert_eq!(reject(&op, &token(&op).without_claim("exp").sign()).await, Reject::Missing(Claim::Expiry));
    assert!(matches!(reject(&op, &token(&op).expired().sign()).await, Reject::Expired { .. }));
    let (now, provider) = (NOW.as_secs(), op.provider());
    // Whatever its `exp` says: its `jti` is not remembered for years.
    let long = |iat: u64| token(&op).claim("iat", iat).claim("exp", now + 1_000_000).sign();
    assert!(provider.logout_notice(&long(now - 359), NOW).await.is_ok());
    assert_eq!(reject(&op, &long(now - 360)).await, Reject::Expired { by_secs: 0 });
    assert!(matches!(reject(&op, &long(now + 61)).await, Reject::IssuedInFuture { .. }));
}

#[tokio::test]
async fn a_logout_token_is_good_once() {
    let (op, now) = (Scripted::new(), NOW);
    let (provider, token) = (op.provider(), token(&op).sign());
    let notice = provider.logout_notice(&token, now).await.expect("the first time");
    for _ in 0..2 {
        let again = provider.logout_notice(&token, now).await;
        assert!(matches!(again, Err(Refusal::Reject(Reject::Replayed))), "{again:?}");
    }
    // What could not be followed is taken once more, and no more than that.
    provider.logout_undone(&notice, now);
    provider.logout_notice(&token, now).await.expect("the provider tries again");
    let again = provider.logout_notice(&token, now).await;
    assert!(matches!(again, Err(Refusal::Reject(Reject::Replayed))), "{again:?}");
}

#[tokio::test]
async fn only_a_logout_token_is_one_unless_the_provider_writes_no_type() {
    let op = Scripted::new();
    for kind in ["JWT", "at+jwt", "", "secevent+jwt"] {
        assert_eq!(reject(&op, &token(&op).typ(kind).sign()).await, Reject::Type, "{kind}");
    }
    assert_eq!(reject(&op, &token(&op).without_header("typ").sign()).await, Reject::Type);
    let lax = op.builder().with_untyped_logout_tokens().build().unwrap();
    for token in [token(&op).sign(), token(&op).typ("JWT").sign(), token(&op).without_header("typ").sign()] {
        lax.logout_notice(&token, NOW).await.expect("a notice");
    }
    for other in [token(&op).typ("at+jwt").sign(), token(&op).typ("JWT").without_claim("events").sign()] {
        assert!(matches!(lax.logout_notice(&other, NOW).await, Err(Refusal::Reject(_))));
    }
}

#[tokio::test]
async fn a_forgery_has_no_keys_fetched() {
    let op = Scripted::new();
    let provider = op.provider();
    provider.logout_notice(&token(&op).sign(), NOW).await.expect("a notice");
    let fetched = op.asked("/jwks").len();
    for _ in 0..10 {
        let refusal = provider.logout_notice(&broken(&token(&op).sign()), NOW).await;
        assert!(matches!(refusal, Err(Refusal::Reject(Reject::Signature))), "{refusal:?}");
    }
    assert_eq!(op.asked("/jwks").len(), fetched);
}

#[tokio::test]
async fn keys_that_cannot_be_had_and_a_memory_that_fails_are_no_verdict() {
    let op = Scripted::new();
    op.instead("/jwks", Some((503, "{}")));
    let failure = op.provider().logout_notice(&token(&op).sign(), NOW).await;
    assert!(matches!(failure, Err(Refusal::Failure(_))), "{failure:?}");
    let op = Scripted::new();
    let full = MemoryReplayGuard::with_limits(1, 1).unwrap();
    let provider = op.builder().with_replay_guard(Arc::new(full)).build().unwrap();
    assert!(provider.logout_notice(&token(&op).sign(), NOW).await.is_ok());
    let failure = provider.logout_notice(&token(&op).sign(), NOW).await;
    assert!(matches!(failure, Err(Refusal::Failure(_))), "{failure:?}");
}

#[tokio::test]
async fn the_way_out_is_the_providers_address_with_what_we_were_told() {
    let op = Scripted::new();
    let provider = op.provider();
    let bare = provider.logout_url(None, None, None, NOW).await.unwrap();
    assert_eq!(bare, Some(format!("{ISSUER}/logout?client_id=shop")));
    for return_to in ["http://shop.example/", "javascript:alert(1)", "//evil.example", "https://a@shop.example/", ""] {
        let failure = provider.logout_url(None, Some(return_to), None, NOW).await.expect_err(return_to);
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
    }
    for state in ["", "a b", "ü"] {
        assert!(provider.logout_url(None, None, Some(state), NOW).await.is_err(), "{state}");
    }
    op.metadata(|mut metadata| {
        metadata.as_object_mut().unwrap().remove("end_session_endpoint");
        metadata
    });
    assert_eq!(op.provider().logout_url(None, None, None, NOW).await.unwrap(), None);
}
