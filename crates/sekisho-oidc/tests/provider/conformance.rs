//! The relying-party modules of the OpenID Foundation's conformance suite, each as a test of its name; those that do not apply stand,
//! with the reason, in `tests/vectors/openid_rp.rs`, which compares both lists with the suite's.

use sekisho_core::{Claim, FailureKind, Reject};
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend};
use sekisho_oidc::{ClientCredentials, LoginError, TokenError, UserInfoError};
use sekisho_testkit::TokenBuilder;
use serde_json::{Value, json};

use crate::scripted::{
    ACCESS_TOKEN, CLIENT, ISSUER, NOW, REFRESH_TOKEN, RSA, SECRET, Scripted, broken, form, header, pairs, unsigned,
};

/// Logs in with ID tokens that are made so, and says why not.
async fn refused(write: impl Fn(TokenBuilder) -> String + Send + 'static) -> Reject {
    let op = Scripted::new();
    op.id_token(write);
    match op.login(&op.provider()).await {
        Err(LoginError::IdToken(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn oidcc_client_test() {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    assert_eq!((login.principal.issuer(), login.principal.subject()), (ISSUER, "u1"));
    assert_eq!((login.principal.client(), login.principal.session_id().as_deref()), (Some(CLIENT), Some("s1")));
    assert_eq!(login.tokens.access_token.expose_str(), Some(ACCESS_TOKEN));
    assert_eq!(login.tokens.expires_at.map(|at| at.as_secs()), Some(NOW.as_secs() + 300));
    assert_eq!(login.tokens.scope.as_deref(), Some("openid"));
    let info = provider.user_info(&login.tokens, "u1", NOW).await.expect("claims");
    assert_eq!(info.claims().get("email").and_then(|email| email.as_str()).as_deref(), Some("u1@shop.example"));
}

#[cfg(feature = "session")]
#[tokio::test]
async fn oidcc_client_test_3rd_party_init_login() {
    use sekisho_http::HeadParts;
    use sekisho_oidc::{Bff, RelyingParty};
    use sekisho_session::{MemorySessionStore, SessionKey, SessionKeys, Sessions};

    let op = Scripted::new();
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(std::sync::Arc::new(MemorySessionStore::new()), keys.clone());
    let sessions = sessions.with_clock(std::sync::Arc::new(op.clock.clone())).build().unwrap();
    let party = RelyingParty::builder(sessions, keys).with_provider("op", op.provider());
    let party = party.with_clock(std::sync::Arc::new(op.clock.clone())).build().unwrap();
    let bff = Bff::builder(party).build().unwrap();
    let head = HeadParts { method: "GET", path: "/bff/initiate", headers: &[] };
    let location = |reply: &sekisho_oidc::Reply| {
        reply.headers().find(|(name, _)| *name == "location").map(|(_, value)| value.to_owned())
    };

    let issuer: String = url::form_urlencoded::byte_serialize(ISSUER.as_bytes()).collect();
    let query = format!("iss={issuer}&login_hint=u1&target_link_uri=%2Fdeep");
    let begun = bff.handle(&head, Some(&query), b"").await;
    assert_eq!(begun.status(), 303);
    let authorize = location(&begun).unwrap();
    assert!(authorize.contains("login_hint=u1"), "{authorize}");
    let cookie = begun.cookies()[0].expose().split(';').next().unwrap().to_owned();
    let headers: [(&str, &[u8]); 1] = [("cookie", cookie.as_bytes())];
    let head = HeadParts { method: "GET", path: "/bff/callback", headers: &headers };
    let done = bff.handle(&head, Some(&op.authorize(&authorize)), b"").await;
    assert_eq!((done.status(), location(&done).as_deref()), (303, Some("/deep")));

    let elsewhere = "iss=https%3A%2F%2Fevil.example&target_link_uri=%2Fdeep".to_owned();
    for query in [elsewhere, format!("iss={issuer}&target_link_uri=https%3A%2F%2Fevil.example")] {
        let head = HeadParts { method: "GET", path: "/bff/initiate", headers: &[] };
        assert_eq!(bff.handle(&head, Some(&query), b"").await.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn oidcc_client_test_aggregated_claims() {
    let op = Scripted::new();
    let (provider, jwt) = (op.provider(), op.issuer.token().claim("address", "elsewhere").sign());
    let sources = json!({"src1": {"JWT": jwt}, "src2": {"endpoint": "https://claims.example/", "access_token": "a"}});
    let body = json!({
        "sub": "u1", "_claim_names": {"address": "src1", "credit_score": "src2"}, "_claim_sources": sources,
    });
    op.user_info("application/json", body.to_string());
    let login = op.login(&provider).await.expect("logged in");
    let info = provider.user_info(&login.tokens, "u1", NOW).await.expect("claims");
    assert!(info.claims().get("address").is_none(), "what others say is not what the provider says");
    assert_eq!(info.claims().pointer("/_claim_names/address").and_then(|name| name.as_str()).as_deref(), Some("src1"));
    assert!(op.asked("https://claims.example/").is_empty(), "and nobody else is asked");
}

#[tokio::test]
async fn oidcc_client_test_client_secret_basic() {
    let op = Scripted::new();
    op.login(&op.provider()).await.expect("logged in");
    let request = op.asked("/token").remove(0);
    let expected = base64_simd::STANDARD.encode_to_string(format!("{CLIENT}:{}", SECRET.replace(' ', "+")));
    assert_eq!(header(&request, "authorization"), Some(format!("Basic {expected}")));
    assert!(!form(&request).contains_key("client_secret"));
}

#[tokio::test]
async fn oidcc_client_test_discovery_issuer_mismatch() {
    for other in
        ["https://id.example/realms/shop/", "https://id.example/realms/other", "https://ID.example/realms/shop"]
    {
        let op = Scripted::new();
        op.metadata(move |mut metadata| {
            metadata["issuer"] = other.into();
            metadata
        });
        match op.login(&op.provider()).await {
            Err(LoginError::Failure(failure)) => assert_eq!(failure.kind(), FailureKind::Unavailable),
            login => panic!("{other}: {login:?}"),
        }
    }
}

#[tokio::test]
async fn oidcc_client_test_discovery_jwks_uri_keys() {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata["jwks_uri"] = format!("{ISSUER}/other-jwks").into();
        metadata
    });
    op.login(&op.provider()).await.expect("logged in");
    assert_eq!((op.asked("/other-jwks").len(), op.asked("/jwks").len()), (1, 0));
}

#[tokio::test]
async fn oidcc_client_test_discovery_openid_config() {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata["token_endpoint"] = format!("{ISSUER}/mtls/token").into();
        metadata
    });
    op.login(&op.provider()).await.expect("logged in");
    assert!(!op.asked("/.well-known/openid-configuration").is_empty());
    assert_eq!((op.asked("/mtls/token").len(), op.asked("/token").len()), (1, 0));
}

#[tokio::test]
async fn oidcc_client_test_idtoken_sig_none() {
    for alg in ["none", "None", ""] {
        let write = move |_: TokenBuilder| {
            let claims = json!({
                "iss": ISSUER, "aud": CLIENT, "sub": "u1", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 300, "nonce": "n",
            });
            unsigned(&json!({ "alg": alg }), &claims)
        };
        // An empty signature is no part of a token here, whatever `alg` says; and with one, `alg` is none of ours.
        assert_eq!(refused(write).await, Reject::Malformed);
        assert_eq!(refused(move |token| write(token) + "AAAA").await, Reject::Algorithm);
    }
}

#[tokio::test]
async fn oidcc_client_test_idtoken_sig_rs256() {
    let op = Scripted::new();
    assert!(op.login(&op.provider()).await.is_ok());
    // And of what else could sign there, only what was registered.
    let op = Scripted::signing_with(SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).unwrap());
    let refusal = op.login(&op.provider()).await;
    assert!(matches!(refusal, Err(LoginError::IdToken(Reject::Algorithm))), "{refusal:?}");
}

#[tokio::test]
async fn oidcc_client_test_invalid_athash() {
    // The whole digest, another token's half, padding, and what is no text.
    let whole = base64_simd::URL_SAFE_NO_PAD.encode_to_string(Backend::aws_lc().sha256(ACCESS_TOKEN.as_bytes()));
    let half = base64_simd::URL_SAFE.encode_to_string(&Backend::aws_lc().sha256(ACCESS_TOKEN.as_bytes())[..16]);
    for hash in [json!(whole), json!(half), json!("AAAAAAAAAAAAAAAAAAAAAA"), json!(""), json!(1), Value::Null] {
        let reject = refused(move |token| token.claim("at_hash", hash.clone()).sign()).await;
        assert_eq!(reject, Reject::Invalid(Claim::AccessTokenHash));
    }
}

#[tokio::test]
async fn oidcc_client_test_invalid_aud() {
    for aud in [json!("other"), json!(["other"]), json!([CLIENT, "other"]), json!("SHOP"), json!([])] {
        assert_eq!(refused(move |token| token.claim("aud", aud.clone()).sign()).await, Reject::Audience);
    }
    assert_eq!(refused(|token| token.claim("aud", 1).sign()).await, Reject::Invalid(Claim::Audience));
}

#[tokio::test]
async fn oidcc_client_test_invalid_chash() {
    let reject = refused(|token| token.claim("c_hash", "AAAAAAAAAAAAAAAAAAAAAA").sign()).await;
    assert_eq!(reject, Reject::Invalid(Claim::CodeHash));
}

#[tokio::test]
async fn oidcc_client_test_invalid_iss() {
    for iss in ["https://id.example/realms/other", "https://id.example/realms/shop/", ""] {
        assert_eq!(refused(move |token| token.claim("iss", iss).sign()).await, Reject::Issuer, "{iss}");
    }
}

#[tokio::test]
async fn oidcc_client_test_invalid_sig_es256() {
    let op = Scripted::signing_with(SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).unwrap());
    let provider = op.builder().with_algorithms([Algorithm::Es256]).build().expect("a provider");
    assert!(op.login(&provider).await.is_ok());
    op.id_token(|token| broken(&token.sign()));
    let refusal = op.login(&provider).await;
    assert!(matches!(refusal, Err(LoginError::IdToken(Reject::Signature))), "{refusal:?}");
}

#[tokio::test]
async fn oidcc_client_test_invalid_sig_hs256() {
    let op = Scripted::new();
    let provider = op.builder().with_shared_secret(Algorithm::Hs256, SECRET).build().expect("a provider");
    let signed = |secret: &str| SigningKey::hmac(Backend::aws_lc(), Algorithm::Hs256, secret.as_bytes()).unwrap();
    let (key, other) = (signed(SECRET), signed(&SECRET.to_uppercase()));
    op.id_token(move |token| token.signed_by(&key).sign());
    assert!(op.login(&provider).await.is_ok());
    op.id_token(move |token| token.signed_by(&other).sign());
    let refusal = op.login(&provider).await;
    assert!(matches!(refusal, Err(LoginError::IdToken(Reject::Signature))), "{refusal:?}");
    // With a shared secret no published key is taken, and without one no shared secret.
    op.id_token(|token| token.signed_by(&RSA).sign());
    let refusal = op.login(&provider).await;
    assert!(matches!(refusal, Err(LoginError::IdToken(Reject::Algorithm))), "{refusal:?}");
    assert_eq!(refused(move |token| token.signed_by(&signed(SECRET)).sign()).await, Reject::Algorithm);
}

#[tokio::test]
async fn oidcc_client_test_invalid_sig_rs256() {
    assert_eq!(refused(|token| broken(&token.sign())).await, Reject::Signature);
}

#[tokio::test]
async fn oidcc_client_test_kid_absent_multiple_jwks() {
    let op = Scripted::new();
    op.issuer.rotate();
    op.id_token(|token| token.without_kid().sign());
    // Both are tried, as the suite allows; with more than four it is refused.
    assert!(op.login(&op.provider()).await.is_ok());
}

#[tokio::test]
async fn oidcc_client_test_kid_absent_single_jwks() {
    let op = Scripted::new();
    op.id_token(|token| token.without_kid().sign());
    assert!(op.login(&op.provider()).await.is_ok());
}

#[tokio::test]
async fn oidcc_client_test_missing_aud() {
    assert_eq!(refused(|token| token.without_claim("aud").sign()).await, Reject::Missing(Claim::Audience));
}

#[tokio::test]
async fn oidcc_client_test_missing_iat() {
    assert_eq!(refused(|token| token.without_claim("iat").sign()).await, Reject::Missing(Claim::IssuedAt));
}

#[tokio::test]
async fn oidcc_client_test_missing_sub() {
    assert_eq!(refused(|token| token.without_claim("sub").sign()).await, Reject::Missing(Claim::Subject));
}

#[tokio::test]
async fn oidcc_client_test_mtls_endpoint_aliases() {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata["mtls_endpoint_aliases"] =
            json!({"token_endpoint": format!("{ISSUER}/mtls/token"), "userinfo_endpoint": format!("{ISSUER}/mtls/userinfo")});
        metadata
    });
    let provider = op.builder_with(ClientCredentials::certificate(CLIENT)).build().expect("a provider");
    let login = op.login(&provider).await.expect("logged in");
    provider.user_info(&login.tokens, "u1", NOW).await.expect("claims");
    assert_eq!((op.asked("/mtls/token").len(), op.asked("/mtls/userinfo").len()), (1, 1));
    assert_eq!(form(&op.asked("/mtls/token")[0])["client_id"], CLIENT);
    // Without a certificate nobody goes there.
    op.login(&op.provider()).await.expect("logged in");
    assert_eq!((op.asked("/mtls/token").len(), op.asked("/token").len()), (1, 1));
}

#[tokio::test]
async fn oidcc_client_test_nonce_invalid() {
    for nonce in [json!("another"), json!(""), json!(1), Value::Null] {
        assert_eq!(
            refused(move |token| token.claim("nonce", nonce.clone()).sign()).await,
            Reject::Invalid(Claim::Nonce)
        );
    }
    assert_eq!(refused(|token| token.without_claim("nonce").sign()).await, Reject::Missing(Claim::Nonce));
}

#[tokio::test]
async fn oidcc_client_test_nonce_unless_code_flow() {
    let op = Scripted::new();
    let start = op.provider().start(&sekisho_oidc::LoginRequest::new(), NOW).await.expect("started");
    // With the code flow too.
    assert_eq!(pairs(start.url.split_once('?').unwrap().1)["nonce"].len(), 43);
}

#[tokio::test]
async fn oidcc_client_test_refresh_token() {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    op.answer(|mut answer| {
        answer["access_token"] = "second-access-token".into();
        answer["refresh_token"] = Value::Null;
        answer
    });
    let tokens = provider.refresh(&login.tokens, "u1", NOW).await.expect("refreshed");
    assert_eq!(tokens.access_token.expose_str(), Some("second-access-token"));
    assert_eq!(tokens.refresh_token.as_ref().unwrap().expose_str(), Some(REFRESH_TOKEN), "the old one stays");
    assert_eq!(form(&op.asked("/token")[1])["refresh_token"], REFRESH_TOKEN);
    provider.user_info(&tokens, "u1", NOW).await.expect("claims");
    assert_eq!(header(&op.asked("/userinfo")[0], "authorization").as_deref(), Some("Bearer second-access-token"));
}

/// Refreshes with ID tokens that are made so, and says why not.
async fn refresh_refused(write: impl Fn(TokenBuilder) -> String + Send + 'static) -> Reject {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    op.id_token(write);
    match provider.refresh(&login.tokens, "u1", NOW).await {
        Err(TokenError::IdToken(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn oidcc_client_test_refresh_token_invalid_issuer() {
    let write = |token: TokenBuilder| token.claim("iss", "https://id.example/realms/other").sign();
    assert_eq!(refresh_refused(write).await, Reject::Issuer);
}

#[tokio::test]
async fn oidcc_client_test_refresh_token_invalid_sub() {
    assert_eq!(refresh_refused(|token| token.subject("u2").sign()).await, Reject::Invalid(Claim::Subject));
}

/// Logs in, goes to the provider to log out, and takes the logout token that it sends then.
async fn logout(write: impl Fn(TokenBuilder) -> String) -> Option<Reject> {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    let url =
        provider.logout_url(login.tokens.id_token.as_ref(), Some("https://shop.example/"), Some("abc"), NOW).await;
    let url = url.expect("metadata").expect("an endpoint");
    assert!(url.starts_with(&format!("{ISSUER}/logout?")), "{url}");
    let token = write(crate::logout::token(&op));
    match provider.logout_notice(&token, NOW).await {
        Ok(notice) => {
            assert_eq!((notice.subject.as_deref(), notice.sid.as_deref()), (Some("u1"), Some("s1")));
            assert_eq!((&*notice.issuer, notice.issued_at), (ISSUER, NOW));
            None
        }
        Err(sekisho_core::Refusal::Reject(reject)) => Some(reject),
        Err(failure) => panic!("{failure:?}"),
    }
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout() {
    assert_eq!(logout(TokenBuilder::sign).await, None);
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_alg_none() {
    let claims = json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "u1", "jti": "j", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 120,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    let none = unsigned(&json!({"alg": "none", "typ": "logout+jwt"}), &claims);
    assert_eq!(logout(|_| none.clone()).await, Some(Reject::Malformed));
    assert_eq!(logout(|_| format!("{none}AA")).await, Some(Reject::Algorithm));
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_no_event() {
    assert_eq!(logout(|token| token.without_claim("events").sign()).await, Some(Reject::Missing(Claim::Events)));
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_with_nonce() {
    for nonce in [json!("n"), Value::Null] {
        assert_eq!(logout(|token| token.claim("nonce", nonce.clone()).sign()).await, Some(Reject::TokenUse));
    }
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_alg() {
    let es256 = |token: TokenBuilder| token.algorithm(Algorithm::Es256).sign();
    assert_eq!(logout(es256).await, Some(Reject::Algorithm));
    let shared = SigningKey::hmac(Backend::aws_lc(), Algorithm::Hs256, SECRET.as_bytes()).unwrap();
    assert_eq!(logout(|token| token.signed_by(&shared).sign()).await, Some(Reject::Algorithm));
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_aud() {
    assert_eq!(logout(|token| token.audience("other").sign()).await, Some(Reject::Audience));
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_event() {
    for events in [
        json!({"http://schemas.openid.net/event/other": {}}),
        json!({"http://schemas.openid.net/event/backchannel-logout": null}),
        json!({"http://schemas.openid.net/event/backchannel-logout": "{}"}),
        json!({"http://schemas.openid.net/event/backchannel-logout/": {}}),
        json!(["http://schemas.openid.net/event/backchannel-logout"]),
        json!("http://schemas.openid.net/event/backchannel-logout"),
        json!({}),
    ] {
        let reject = logout(|token| token.claim("events", events.clone()).sign()).await;
        assert_eq!(reject, Some(Reject::Invalid(Claim::Events)), "{events}");
    }
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_iss() {
    assert_eq!(logout(|token| token.claim("iss", "https://id.example").sign()).await, Some(Reject::Issuer));
}

#[tokio::test]
async fn oidcc_client_test_rp_init_logout() {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    let id_token = login.tokens.id_token.as_ref();
    let url = provider.logout_url(id_token, Some("https://shop.example/bye"), Some("abc"), NOW).await;
    let url = url.expect("metadata").expect("an endpoint");
    let sent = pairs(url.strip_prefix(&format!("{ISSUER}/logout?")).expect("there"));
    assert_eq!(sent["id_token_hint"], id_token.unwrap().expose_str().unwrap());
    assert_eq!((&*sent["client_id"], &*sent["state"]), (CLIENT, "abc"));
    assert_eq!(sent["post_logout_redirect_uri"], "https://shop.example/bye");
    assert_eq!(sent.len(), 4);
}

#[tokio::test]
async fn oidcc_client_test_scope_userinfo_claims() {
    let op = Scripted::new();
    let provider = op.builder().with_scopes(["profile", "email", "openid", "phone", "address"]).build().unwrap();
    let start = provider.start(&sekisho_oidc::LoginRequest::new(), NOW).await.expect("started");
    assert_eq!(pairs(start.url.split_once('?').unwrap().1)["scope"], "openid profile email phone address");
    let login = op.login(&provider).await.expect("logged in");
    let info = provider.user_info(&login.tokens, "u1", NOW).await.expect("claims");
    assert!(info.claims().get("email").is_some() && login.principal.claims().get("email").is_none());
}

#[tokio::test]
async fn oidcc_client_test_signing_key_rotation() {
    let op = Scripted::new();
    let provider = op.provider();
    assert!(op.login(&provider).await.is_ok());
    op.issuer.rotate();
    op.issuer.withdraw_retired();
    assert!(op.login(&provider).await.is_ok());
    assert_eq!(op.asked("/jwks").len(), 2);
}

#[tokio::test]
async fn oidcc_client_test_signing_key_rotation_just_before_signing() {
    let op = Scripted::new();
    let provider = op.provider();
    // The keys are at hand, by another token, when they change.
    assert!(op.login(&provider).await.is_ok());
    let issuer = op.issuer.clone();
    op.id_token(move |token| {
        issuer.rotate();
        token.sign()
    });
    assert!(op.login(&provider).await.is_ok());
}

#[tokio::test]
async fn oidcc_client_test_userinfo_bearer_header() {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    provider.user_info(&login.tokens, "u1", NOW).await.expect("claims");
    let request = op.asked("/userinfo").remove(0);
    assert_eq!(header(&request, "authorization"), Some(format!("Bearer {ACCESS_TOKEN}")));
    assert!(request.body.is_empty() && !request.url.contains('?'));
}

#[tokio::test]
async fn oidcc_client_test_userinfo_invalid_sub() {
    for body in
        [json!({"sub": "u2"}), json!({"sub": "U1"}), json!({"sub": 1}), json!({"sub": ""}), json!({"sub": null})]
    {
        let op = Scripted::new();
        let provider = op.provider();
        let login = op.login(&provider).await.expect("logged in");
        op.user_info("application/json", body.to_string());
        match provider.user_info(&login.tokens, "u1", NOW).await {
            Err(UserInfoError::Refused(reject)) => assert_eq!(reject, Reject::Invalid(Claim::Subject), "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn oidcc_client_test_userinfo_signed() {
    let op = Scripted::new();
    let provider = op.provider();
    let login = op.login(&provider).await.expect("logged in");
    let answer = || op.issuer.token().typ("JWT").audience(CLIENT).claim("email", "u1@shop.example");
    op.user_info("application/jwt; charset=utf-8", answer().sign());
    let info = provider.user_info(&login.tokens, "u1", NOW).await.expect("claims");
    assert!(info.claims().get("email").is_some());
    for (bad, why) in [
        (broken(&answer().sign()), Reject::Signature),
        (answer().audience("other").sign(), Reject::Audience),
        (answer().claim("iss", "https://id.example").sign(), Reject::Issuer),
        (answer().subject("u2").sign(), Reject::Invalid(Claim::Subject)),
        (answer().algorithm(Algorithm::Es256).sign(), Reject::Algorithm),
        (answer().typ("at+jwt").sign(), Reject::Type),
        (unsigned(&json!({"alg": "none"}), &json!({"sub": "u1"})), Reject::Malformed),
    ] {
        op.user_info("application/jwt", bad);
        match provider.user_info(&login.tokens, "u1", NOW).await {
            Err(UserInfoError::Refused(reject)) => assert_eq!(reject, why),
            other => panic!("{why:?}: {other:?}"),
        }
    }
}
