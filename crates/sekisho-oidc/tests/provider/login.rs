//! From leaving to returning: what is asked, which return is taken, and what the ID token must prove.

use std::time::Duration;

use sekisho_core::{Claim, FailureKind, Reject, UnixSeconds};
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend};
use sekisho_oidc::{Callback, LoginError, LoginRequest, PendingLogin, Prompt, Provider, PushedRequests};
use sekisho_testkit::TokenBuilder;
use serde_json::json;

use crate::scripted::{CLIENT, ISSUER, NOW, RSA, Scripted, form, header, pairs};

async fn finish(provider: &Provider, pending: &PendingLogin, query: &str) -> Result<(), LoginError> {
    finish_at(provider, pending, query, NOW).await
}

async fn finish_at(
    provider: &Provider,
    pending: &PendingLogin,
    query: &str,
    at: UnixSeconds,
) -> Result<(), LoginError> {
    provider.finish(pending.clone(), &Callback::from_query(query), at).await.map(drop)
}

#[tokio::test]
async fn asks_for_what_it_was_told_and_for_nothing_else() {
    let op = Scripted::new();
    let provider = op.builder().with_parameters(["kc_idp_hint"]).build().unwrap();
    let request = LoginRequest::new()
        .with_prompt(Prompt::Login)
        .with_max_age(Duration::ZERO)
        .with_acr_values(["gold"])
        .with_login_hint("alice")
        .with_parameter("kc_idp_hint", "partner");
    let start = provider.start(&request, NOW).await.unwrap();
    let sent = pairs(start.url.strip_prefix(&format!("{ISSUER}/authorize?")).unwrap());
    let mut names: Vec<&str> = sent.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = "acr_values client_id code_challenge code_challenge_method kc_idp_hint login_hint max_age nonce prompt \
                    redirect_uri response_type scope state";
    assert_eq!(names.join(" "), expected);
    assert_eq!((&*sent["prompt"], &*sent["max_age"], &*sent["acr_values"]), ("login", "0", "gold"));
    assert_eq!(sent["state"], start.pending.state());
    // What it keeps is nowhere in the address but for state, nonce and the digest of the verifier.
    assert!(!start.url.contains(&base64_simd::URL_SAFE_NO_PAD.encode_to_string(&start.pending.to_bytes()[105..137])));
    let wrong = provider.start(&LoginRequest::new().with_parameter("resource", "x"), NOW).await.unwrap_err();
    assert_eq!(wrong.kind(), FailureKind::Misconfigured);
}

#[tokio::test]
async fn keeps_the_query_of_the_authorization_endpoint() {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata["authorization_endpoint"] = format!("{ISSUER}/authorize?tenant=a").into();
        metadata
    });
    let start = op.provider().start(&LoginRequest::new(), NOW).await.unwrap();
    assert!(start.url.starts_with(&format!("{ISSUER}/authorize?tenant=a&response_type=code&")), "{}", start.url);
}

#[tokio::test]
async fn a_return_that_is_not_of_this_login_is_refused_before_anything_is_asked() {
    let op = Scripted::new();
    let provider = op.provider();
    let (start, other) = (
        provider.start(&LoginRequest::new(), NOW).await.unwrap(),
        provider.start(&LoginRequest::new(), NOW).await.unwrap(),
    );
    let (good, foreign) = (op.authorize(&start.url), op.authorize(&other.url));
    let state = start.pending.state();
    for bad in [
        foreign,
        String::new(),
        "code=code-0".to_owned(),
        format!("state={state}"),
        format!("state={state}&code="),
        format!("state={}&code=code-0", state.to_uppercase()),
        format!("state={}&code=code-0", &state[..42]),
        format!("state={state}x&code=code-0"),
        format!("{good}&code=code-1"),
        format!("{good}&state={state}"),
        format!("{good}&error=access_denied"),
        format!("{good}&iss=https%3A%2F%2Fevil.example"),
        format!("{good}&iss="),
        format!("{good}&response=eyJhbGciOiJub25lIn0.e30."),
        format!("state={state}&code=a%0Ab"),
        format!("state={state}&code=%FF"),
        "error=access_denied".to_owned(),
        "error=access_denied&state=x".to_owned(),
        format!("{good}&x={}", "x".repeat(8192)),
    ] {
        let refusal = finish(&provider, &start.pending, &bad).await;
        assert!(matches!(refusal, Err(LoginError::Foreign)), "{bad}: {refusal:?}");
    }
    assert!(op.asked("/token").is_empty());
    finish(&provider, &start.pending, &format!("{good}&session_state=x&x=1&x=2")).await.expect("the true one");
}

#[tokio::test]
async fn a_login_that_was_begun_elsewhere_or_too_long_ago_is_refused() {
    let op = Scripted::new();
    let provider = op.provider();
    let start = provider.start(&LoginRequest::new(), NOW).await.unwrap();
    let query = op.authorize(&start.url);
    let client = |id: &str| {
        op.builder_with(sekisho_oidc::ClientCredentials::basic(id, "a secret of another client")).build().unwrap()
    };
    let (neighbour, namesake) = (client("other"), Scripted::named("https://other.example", RSA.clone()).provider());
    for other in [&neighbour, &namesake] {
        assert!(!other.began(&start.pending));
        assert!(matches!(finish(other, &start.pending, &query).await, Err(LoginError::Foreign)));
    }
    for (at, is_good) in [(599, true), (600, false), (10_000, false)] {
        op.clock.set(NOW);
        let start = provider.start(&LoginRequest::new(), NOW).await.unwrap();
        let (query, at) = (op.authorize(&start.url), NOW.saturating_add(Duration::from_secs(at)));
        op.clock.set(at);
        let finished = finish_at(&provider, &start.pending, &query, at).await;
        assert_eq!(finished.is_ok(), is_good, "{at}: {finished:?}");
    }
    let early = NOW.saturating_sub(Duration::from_secs(61));
    assert!(matches!(finish_at(&provider, &start.pending, &query, early).await, Err(LoginError::Foreign)));
    // It survives being written down.
    let read = PendingLogin::from_bytes(&start.pending.to_bytes()).unwrap();
    op.clock.set(NOW);
    assert!(provider.began(&read) && finish(&provider, &read, &query).await.is_ok());
}

#[tokio::test]
async fn a_code_is_sent_once_and_a_used_one_is_told_apart() {
    let op = Scripted::new();
    let provider = op.provider();
    let start = provider.start(&LoginRequest::new(), NOW).await.unwrap();
    let query = op.authorize(&start.url);
    finish(&provider, &start.pending, &query).await.expect("the first time");
    let refusal = finish(&provider, &start.pending, &query).await;
    assert!(matches!(refusal, Err(LoginError::Code)), "{refusal:?}");
    assert_eq!(op.asked("/token").len(), 2);
}

#[tokio::test]
async fn a_provider_that_says_who_it_is_must_say_so_each_time() {
    let op = Scripted::new();
    op.sends_issuer();
    let provider = op.provider();
    let start = provider.start(&LoginRequest::new(), NOW).await.unwrap();
    let query = op.authorize(&start.url);
    let without = query.split_once("&iss=").expect("there").0;
    assert!(matches!(finish(&provider, &start.pending, without).await, Err(LoginError::Foreign)));
    // An error without it too: another provider may have sent it.
    let error = format!("error=access_denied&state={}", start.pending.state());
    assert!(matches!(finish(&provider, &start.pending, &error).await, Err(LoginError::Foreign)));
    finish(&provider, &start.pending, &query).await.expect("with it");
}

#[tokio::test]
async fn an_error_of_the_provider_is_told_by_its_registered_code_alone() {
    let op = Scripted::new();
    let provider = op.provider();
    let start = provider.start(&LoginRequest::silent(), NOW).await.unwrap();
    let error = async |code: &str| {
        let query = format!("error={code}&error_description=%3Cscript%3Ehush&state={}", start.pending.state());
        finish(&provider, &start.pending, &query).await.unwrap_err()
    };
    assert!(matches!(error("login_required").await, LoginError::InteractionRequired));
    assert!(matches!(error("access_denied").await, LoginError::Denied));
    assert!(matches!(error("unmet_authentication_requirements").await, LoginError::TooWeak));
    assert!(matches!(error("invalid_scope").await, LoginError::Refused("invalid_scope")));
    assert!(matches!(error("temporarily_unavailable").await, LoginError::Failure(_)));
    let unknown = error("hush").await;
    assert!(!format!("{unknown:?} {unknown}").contains("hush"), "{unknown:?}");
    assert!(op.asked("/token").is_empty());
}

/// Logs in with this request and ID tokens that are made so.
async fn login(
    request: LoginRequest,
    write: impl Fn(TokenBuilder) -> String + Send + 'static,
) -> Result<sekisho_oidc::LoggedIn, LoginError> {
    let op = Scripted::new();
    op.id_token(write);
    let provider = op.builder().with_trusted_audience("orders").with_roles_at("/realm_access/roles").build().unwrap();
    op.login_with(&provider, &request).await
}

type Write = fn(TokenBuilder) -> TokenBuilder;

fn idle() -> LoginRequest {
    LoginRequest::new()
}

#[tokio::test]
async fn a_login_that_is_weaker_or_older_than_asked_is_refused() {
    let gold = || idle().with_acr_values(["gold", "silver"]);
    let hour = || idle().with_max_age(Duration::from_secs(3600));
    let at = |secs: u64| move |token: TokenBuilder| token.claim("auth_time", secs).sign();
    let now = NOW.as_secs();
    assert!(login(gold(), |token| token.claim("acr", "silver").sign()).await.is_ok());
    assert!(login(hour(), at(now - 3660)).await.is_ok());
    assert!(login(idle().with_max_age(Duration::ZERO), at(now)).await.is_ok());
    let weak: [(LoginRequest, Write); 7] = [
        (gold(), |token| token.claim("acr", "bronze")),
        (gold(), |token| token.claim("acr", "GOLD")),
        (gold(), |token| token.claim("acr", json!(["gold"]))),
        (gold(), |token| token),
        (hour(), |token| token.claim("auth_time", NOW.as_secs() - 3661)),
        (hour(), |token| token.without_claim("auth_time")),
        (idle().with_max_age(Duration::ZERO), |token| token.claim("auth_time", NOW.as_secs() - 61)),
    ];
    for (request, write) in weak {
        let refusal = login(request, move |token| write(token).sign()).await;
        assert!(matches!(refusal, Err(LoginError::TooWeak)), "{refusal:?}");
    }
    let reject = |login: Result<_, LoginError>| match login {
        Err(LoginError::IdToken(reject)) => reject,
        other => panic!("{:?}", other.map(drop)),
    };
    let invalid = Reject::Invalid(Claim::AuthenticationTime);
    assert_eq!(reject(login(hour(), at(now + 61)).await.map(drop)), invalid);
    assert_eq!(reject(login(idle(), |token| token.claim("auth_time", "1").sign()).await.map(drop)), invalid);
}

#[tokio::test]
async fn the_time_that_the_user_takes_makes_a_login_no_older() {
    let op = Scripted::new();
    let provider = op.provider();
    let start = provider.start(&LoginRequest::new().with_max_age(Duration::ZERO), NOW).await.unwrap();
    let query = op.authorize(&start.url);
    op.id_token(|token| token.claim("auth_time", NOW.as_secs() + 5).sign());
    let later = NOW.saturating_add(Duration::from_secs(500));
    op.clock.set(later);
    finish_at(&provider, &start.pending, &query, later).await.expect("consent took long");
}

#[tokio::test]
async fn an_id_token_must_be_for_us_alone_and_of_this_login() {
    let reject =
        async |write: fn(TokenBuilder) -> TokenBuilder| match login(idle(), move |token| write(token).sign()).await {
            Err(LoginError::IdToken(reject)) => reject,
            other => panic!("{other:?}"),
        };
    let (client, now) = (Claim::Client, NOW.as_secs());
    assert_eq!(reject(|token| token.claim("aud", json!([CLIENT, "orders"]))).await, Reject::Missing(client));
    assert_eq!(
        reject(|token| token.claim("aud", json!([CLIENT, "evil"])).claim("azp", CLIENT)).await,
        Reject::Audience
    );
    assert_eq!(reject(|token| token.claim("azp", "orders")).await, Reject::Invalid(client));
    assert_eq!(reject(|token| token.claim("azp", 1)).await, Reject::Invalid(client));
    assert_eq!(reject(|token| token.without_claim("exp")).await, Reject::Missing(Claim::Expiry));
    assert!(matches!(reject(|token| token.expired()).await, Reject::Expired { .. }));
    assert!(matches!(reject(|token| token.claim("iat", NOW.as_secs() + 61)).await, Reject::IssuedInFuture { .. }));
    assert_eq!(reject(|token| token.claim("iat", NOW.as_secs() - 61)).await, Reject::Invalid(Claim::IssuedAt));
    assert_eq!(reject(|token| token.claim("sub", "")).await, Reject::Invalid(Claim::Subject));
    assert_eq!(reject(|token| token.claim("sub", "ü")).await, Reject::Invalid(Claim::Subject));
    assert_eq!(reject(|token| token.claim("sub", "a\nb")).await, Reject::Invalid(Claim::Subject));
    assert_eq!(reject(|token| token.claim("sub", "a".repeat(256))).await, Reject::Invalid(Claim::Subject));
    assert_eq!(reject(|token| token.claim("sid", 1)).await, Reject::Invalid(Claim::Session));
    assert_eq!(reject(|token| token.claim("events", json!({}))).await, Reject::TokenUse);
    assert_eq!(reject(|token| token.typ("at+jwt")).await, Reject::Type);
    assert_eq!(reject(|token| token.typ("logout+jwt")).await, Reject::Type);
    assert_eq!(reject(|token| token.header("crit", json!(["x"]))).await, Reject::Critical);
    assert_eq!(
        reject(|token| token.claim("realm_access", json!({"roles": [1]}))).await,
        Reject::Invalid(Claim::Custom)
    );
    let good = login(idle(), move |token| {
        let token = token.claim("aud", json!([CLIENT, "orders"])).claim("azp", CLIENT).claim("iat", now - 60);
        token.subject(&"a".repeat(255)).without_header("typ").claim("realm_access", json!({"roles": ["admin"]})).sign()
    });
    let principal = good.await.expect("logged in").principal;
    assert!(principal.has_role("admin") && principal.subject().len() == 255 && principal.client() == Some(CLIENT));
}

#[tokio::test]
async fn the_hash_of_the_access_token_is_by_the_algorithm_of_the_id_token() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Ed25519] {
        let op = Scripted::signing_with(SigningKey::generate(Backend::aws_lc(), algorithm).unwrap());
        let provider = op.builder().with_algorithms([algorithm]).build().unwrap();
        let hash = |hashed: &str, algorithm| {
            let digest = Backend::aws_lc().digest_of(algorithm, hashed.as_bytes());
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(&digest[..digest.len() / 2])
        };
        let (token_hash, code_hash) = (hash(crate::scripted::ACCESS_TOKEN, algorithm), hash("code-0", algorithm));
        op.id_token(move |token| token.claim("at_hash", &*token_hash).claim("c_hash", &*code_hash).sign());
        assert!(op.login(&provider).await.is_ok(), "{algorithm}");
        let other = if algorithm == Algorithm::Es256 { Algorithm::Es384 } else { Algorithm::Es256 };
        let wrong = hash(crate::scripted::ACCESS_TOKEN, other);
        op.id_token(move |token| token.claim("at_hash", &*wrong).sign());
        let refusal = op.login(&provider).await;
        let expected = Reject::Invalid(Claim::AccessTokenHash);
        assert!(matches!(refusal, Err(LoginError::IdToken(reject)) if reject == expected), "{algorithm}");
    }
}

#[tokio::test]
async fn a_pushed_request_leaves_nothing_but_a_reference_in_the_browser() {
    let op = Scripted::new();
    op.metadata(|mut metadata| {
        metadata["pushed_authorization_request_endpoint"] = format!("{ISSUER}/par").into();
        metadata
    });
    let request = LoginRequest::new().with_login_hint("alice");
    let start = op.provider().start(&request, NOW).await.unwrap();
    let sent = pairs(start.url.strip_prefix(&format!("{ISSUER}/authorize?")).unwrap());
    assert_eq!((sent.len(), &*sent["client_id"]), (2, CLIENT));
    let pushed = op.asked("/par").remove(0);
    assert!(header(&pushed, "authorization").is_some_and(|proof| proof.starts_with("Basic ")));
    assert_eq!((&*form(&pushed)["login_hint"], &*form(&pushed)["client_id"]), ("alice", CLIENT));
    assert!(op.login_with(&op.provider(), &request).await.is_ok());
    // By configuration it is left out, or demanded.
    let never = op.builder().with_pushed_requests(PushedRequests::Never).build().unwrap();
    assert!(never.start(&request, NOW).await.unwrap().url.contains("login_hint=alice"));
    for answer in [
        (400, r#"{"error":"invalid_request"}"#),
        (200, "{}"),
        (201, r#"{"request_uri":""}"#),
        (201, r#"{"request_uri":"a b"}"#),
    ] {
        op.instead("/par", Some(answer));
        let failure = op.provider().start(&request, NOW).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::BadGateway, "{answer:?}");
    }
    let without = Scripted::new();
    let always = without.builder().with_pushed_requests(PushedRequests::Always).build().unwrap();
    assert_eq!(always.start(&request, NOW).await.unwrap_err().kind(), FailureKind::BadGateway);
    without.metadata(|mut metadata| {
        metadata["require_pushed_authorization_requests"] = true.into();
        metadata
    });
    assert!(without.provider().start(&request, NOW).await.is_err(), "required, and no endpoint");
}

#[tokio::test]
async fn a_token_answer_without_an_id_token_is_no_login() {
    let op = Scripted::new();
    op.answer(|mut answer| {
        answer.as_object_mut().unwrap().remove("id_token");
        answer
    });
    match op.login(&op.provider()).await {
        Err(LoginError::Failure(failure)) => assert_eq!(failure.kind(), FailureKind::BadGateway),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_our_trouble_and_no_verdict() {
    let op = Scripted::new();
    op.instead("/jwks", Some((503, "{}")));
    match op.login(&op.provider()).await {
        Err(LoginError::Failure(failure)) => assert_eq!(failure.kind(), FailureKind::Unavailable),
        other => panic!("{other:?}"),
    }
}
