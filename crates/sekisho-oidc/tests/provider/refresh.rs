//! What a refresh may bring, and what ends the session.

use sekisho_core::{Claim, Reject, UnixSeconds};
use sekisho_oidc::{Provider, TokenError, TokenSet};
use sekisho_testkit::TokenBuilder;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::scripted::{CLIENT, NOW, Scripted, form};

const LATER: UnixSeconds = UnixSeconds::new(NOW.as_secs() + 1000);

async fn logged_in() -> (Arc<Scripted>, Provider, TokenSet) {
    let op = Scripted::new();
    let provider = op.provider();
    let tokens = op.login(&provider).await.expect("logged in").tokens;
    op.clock.set(LATER);
    (op, provider, tokens)
}

async fn refresh(write: impl Fn(TokenBuilder) -> TokenBuilder + Send + 'static) -> Result<TokenSet, TokenError> {
    let (op, provider, tokens) = logged_in().await;
    op.id_token(move |token| write(token).sign());
    provider.refresh(&tokens, "u1", LATER).await
}

async fn rejected(write: impl Fn(TokenBuilder) -> TokenBuilder + Send + 'static) -> Reject {
    match refresh(write).await {
        Err(TokenError::IdToken(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_id_token_of_a_refresh_must_be_of_the_same_login() {
    let nonce = Claim::Nonce;
    assert_eq!(rejected(|token| token.subject("u2")).await, Reject::Invalid(Claim::Subject));
    assert_eq!(rejected(|token| token.without_claim("sub")).await, Reject::Missing(Claim::Subject));
    assert_eq!(rejected(|token| token.claim("nonce", "another")).await, Reject::Invalid(nonce));
    assert_eq!(rejected(|token| token.claim("nonce", Value::Null)).await, Reject::Invalid(nonce));
    assert_eq!(rejected(|token| token.audience("other")).await, Reject::Audience);
    assert_eq!(rejected(|token| token.claim("aud", json!([CLIENT, "other"]))).await, Reject::Audience);
    assert_eq!(rejected(|token| token.claim("azp", "other")).await, Reject::Invalid(Claim::Client));
    let earlier = NOW.as_secs() - 101;
    let time = Reject::Invalid(Claim::AuthenticationTime);
    assert_eq!(rejected(move |token| token.claim("auth_time", earlier)).await, time);
    assert_eq!(rejected(|token| token.claim("auth_time", "1")).await, time);
    assert_eq!(rejected(|token| token.claim("at_hash", "x")).await, Reject::Invalid(Claim::AccessTokenHash));
    let old = LATER.as_secs() - 661;
    assert_eq!(rejected(move |token| token.claim("iat", old)).await, Reject::Invalid(Claim::IssuedAt));
    assert!(matches!(rejected(TokenBuilder::expired).await, Reject::Expired { .. }));
    assert_eq!(rejected(|token| token.typ("at+jwt")).await, Reject::Type);
}

#[tokio::test]
async fn takes_an_id_token_of_the_same_login() {
    assert!(refresh(|token| token).await.is_ok());
    assert!(refresh(|token| token.without_claim("auth_time").without_claim("sid")).await.is_ok());
    // Another service had the user log in again, in the same session there.
    assert!(refresh(|token| token.claim("auth_time", NOW.as_secs() + 500)).await.is_ok());
    let (op, provider, tokens) = logged_in().await;
    let login = tokens.id_token.as_ref().unwrap().expose_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims: Value = serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(login).unwrap()).unwrap();
    let nonce = claims["nonce"].as_str().unwrap().to_owned();
    op.id_token(move |token| token.claim("nonce", &*nonce).sign());
    assert!(provider.refresh(&tokens, "u1", LATER).await.is_ok());
}

#[tokio::test]
async fn what_the_answer_leaves_out_stays() {
    let (op, provider, tokens) = logged_in().await;
    op.answer(|_| json!({"access_token": "second", "token_type": "Bearer"}));
    let new = provider.refresh(&tokens, "u1", LATER).await.expect("refreshed");
    assert_eq!((&new.id_token, &new.refresh_token), (&tokens.id_token, &tokens.refresh_token));
    assert_eq!((new.scope.as_deref(), new.expires_at), (Some("openid"), None));
    op.answer(|_| {
        json!({"access_token": "third", "token_type": "Bearer", "refresh_token": "rotated", "scope": "openid a", "expires_in": 60})
    });
    let newer = provider.refresh(&new, "u1", LATER).await.expect("refreshed");
    assert_eq!(newer.refresh_token.as_ref().unwrap().expose_str(), Some("rotated"));
    assert_eq!(newer.scope.as_deref(), Some("openid a"));
    assert_eq!(newer.expires_at, Some(UnixSeconds::new(LATER.as_secs() + 60)));
}

#[tokio::test]
async fn a_refresh_token_is_sent_once_and_its_end_is_told_apart() {
    let (op, provider, tokens) = logged_in().await;
    for (status, body, is_over) in [
        (400, r#"{"error":"invalid_grant"}"#, true),
        (400, r#"{"error":"invalid_scope"}"#, false),
        (503, "", false),
        (200, "nonsense", false),
        (200, r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#, false),
    ] {
        let before = op.asked("/token").len();
        op.instead("/token", Some((status, body)));
        let refusal = provider.refresh(&tokens, "u1", LATER).await.expect_err(body);
        assert_eq!(matches!(refusal, TokenError::Grant), is_over, "{refusal:?}");
        assert_eq!(op.asked("/token").len() - before, 1);
    }
    let mut none = tokens;
    none.refresh_token = None;
    assert!(matches!(provider.refresh(&none, "u1", LATER).await, Err(TokenError::Grant)));
}

#[tokio::test]
async fn new_tokens_are_not_lost_because_keys_cannot_be_had() {
    let (op, provider, tokens) = logged_in().await;
    // By a key that is not known yet, while the provider hands none out.
    op.issuer.rotate();
    op.instead("/jwks", Some((503, "{}")));
    op.answer(|mut answer| {
        answer["refresh_token"] = "rotated".into();
        answer
    });
    // Long after the keys at hand have gone stale.
    let at = UnixSeconds::new(NOW.as_secs() + 100_000);
    op.clock.set(at);
    let new = provider.refresh(&tokens, "u1", at).await.expect("refreshed");
    assert_eq!(new.refresh_token.as_ref().unwrap().expose_str(), Some("rotated"));
    assert_eq!(new.id_token, tokens.id_token, "what could not be verified is not kept");
}

#[tokio::test]
async fn a_refresh_token_is_withdrawn_where_that_is_possible() {
    let (op, provider, tokens) = logged_in().await;
    provider.revoke(tokens.refresh_token.as_ref().unwrap(), LATER).await.expect("withdrawn");
    let sent = form(&op.asked("/revoke")[0]);
    assert_eq!((&*sent["token"], &*sent["token_type_hint"]), (crate::scripted::REFRESH_TOKEN, "refresh_token"));
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata.as_object_mut().unwrap().remove("revocation_endpoint");
        metadata
    });
    op.provider().revoke(tokens.refresh_token.as_ref().unwrap(), NOW).await.expect("nothing to do");
    assert!(op.asked("/revoke").is_empty());
}
