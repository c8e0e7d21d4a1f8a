//! Asking about the user.

use std::time::Duration;

use sekisho_core::FailureKind;
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend};
use sekisho_oidc::UserInfoError;
use sekisho_testkit::DpopKey;

use crate::scripted::{ACCESS_TOKEN, ISSUER, NOW, Scripted, header};

#[tokio::test]
async fn what_is_no_answer_is_told_by_whose_trouble_it_is() {
    let op = Scripted::new();
    let provider = op.provider();
    let tokens = op.login(&provider).await.expect("logged in").tokens;
    op.instead("/userinfo", Some((401, "")));
    let refusal = provider.user_info(&tokens, "u1", NOW).await;
    assert!(matches!(refusal, Err(UserInfoError::AccessToken)), "{refusal:?}");
    for (answer, kind) in [
        ((403, ""), FailureKind::BadGateway),
        ((302, ""), FailureKind::BadGateway),
        ((200, ""), FailureKind::BadGateway),
        ((200, "[]"), FailureKind::BadGateway),
        ((200, r#"{"sub":"u1","sub":"u1"}"#), FailureKind::BadGateway),
        ((503, ""), FailureKind::Unavailable),
        ((429, ""), FailureKind::Unavailable),
    ] {
        op.instead("/userinfo", Some(answer));
        match provider.user_info(&tokens, "u1", NOW).await {
            Err(UserInfoError::Failure(failure)) => assert_eq!(failure.kind(), kind, "{answer:?}"),
            other => panic!("{answer:?}: {other:?}"),
        }
    }
    op.instead("/userinfo", None);
    for (kind, body) in [("text/html", r#"{"sub":"u1"}"#.to_owned()), ("", r#"{"sub":"u1"}"#.to_owned())] {
        op.user_info(kind, body);
        assert!(matches!(provider.user_info(&tokens, "u1", NOW).await, Err(UserInfoError::Failure(_))), "{kind}");
    }
    op.user_info("application/json", format!(r#"{{"sub":"u1","a":"{}"}}"#, "a".repeat(150_000)));
    assert!(matches!(provider.user_info(&tokens, "u1", NOW).await, Err(UserInfoError::Failure(_))));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_forgets_its_limits_holds_nobody_for_longer() {
    let op = Scripted::new();
    let provider = op.provider();
    let tokens = op.login(&provider).await.expect("logged in").tokens;
    op.silent_at("/userinfo");
    let asking = tokio::time::timeout(Duration::from_secs(6), provider.user_info(&tokens, "u1", NOW));
    match asking.await.expect("an answer after 5 s") {
        Err(UserInfoError::Failure(failure)) => assert_eq!(failure.kind(), FailureKind::Unavailable),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_provider_without_the_endpoint_is_not_asked() {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata.as_object_mut().unwrap().remove("userinfo_endpoint");
        metadata
    });
    let provider = op.provider();
    let tokens = op.login(&provider).await.expect("logged in").tokens;
    match provider.user_info(&tokens, "u1", NOW).await {
        Err(UserInfoError::Failure(failure)) => assert_eq!(failure.kind(), FailureKind::Misconfigured),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_our_key_is_sent_with_a_proof() {
    let op = Scripted::new();
    let key = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).unwrap();
    let thumbprint = DpopKey::with_key(key.clone()).thumbprint();
    let provider = op.builder().with_dpop(key).build().unwrap();
    // A bearer token in answer to a proof is no answer.
    assert!(op.login(&provider).await.is_err());
    op.answer(|mut answer| {
        answer["token_type"] = "DPoP".into();
        answer
    });
    let start = provider.start(&sekisho_oidc::LoginRequest::new(), NOW).await.unwrap();
    assert!(start.url.ends_with(&format!("&dpop_jkt={thumbprint}")), "{}", start.url);
    let tokens = op.login(&provider).await.expect("logged in").tokens;
    assert!(tokens.is_dpop && header(&op.asked("/token")[0], "dpop").is_some());
    provider.user_info(&tokens, "u1", NOW).await.expect("claims");
    let request = op.asked("/userinfo").remove(0);
    assert_eq!(header(&request, "authorization"), Some(format!("DPoP {ACCESS_TOKEN}")));
    let proof = header(&request, "dpop").expect("a proof");
    let claims = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(proof.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["htm"], &claims["htu"]), (&"GET".into(), &format!("{ISSUER}/userinfo").into()));
    let hash = Backend::aws_lc().sha256(ACCESS_TOKEN.as_bytes());
    assert_eq!(claims["ath"], base64_simd::URL_SAFE_NO_PAD.encode_to_string(hash));
    // The key is not here any more: nothing is sent in another way.
    let other = op.provider();
    assert!(matches!(other.user_info(&tokens, "u1", NOW).await, Err(UserInfoError::Failure(_))));
    assert_eq!(op.asked("/userinfo").len(), 1);
}
