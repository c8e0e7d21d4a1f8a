//! The behaviour of the AWS HTTP API's JWT authorizer, row by row.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use http::Request;
use sekisho_core::UnixSeconds;
use sekisho_jwks::{Algorithm, Backend, SigningKey};
use sekisho_testkit::{Endpoint, Fault, FixedClock, Issuer, ServedIssuer, TokenBuilder};
use serde_json::json;

use super::*;
use crate::journey::JourneyListener;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// RSA keys take a second to find, so all tests share one.
static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Backend::default(), Algorithm::Rs256).unwrap());
static OTHER_KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Backend::default(), Algorithm::Rs256).unwrap());

fn issuer() -> Issuer {
    Issuer::new().with_signing_key(KEY.clone()).with_clock(FixedClock::at(NOW))
}

fn builder(issuer: &Issuer) -> JwtAuthorizerBuilder {
    JwtAuthorizer::aws_http_api(issuer.url())
        .audience("orders")
        .with_keys(issuer.static_keys())
        .with_clock(Arc::new(FixedClock::at(NOW)))
}

/// A token as AWS's own issuer would write it: no `typ` that says anything, an audience.
fn token(issuer: &Issuer) -> TokenBuilder {
    issuer.token().typ("JWT").audience("orders").scope("orders:read")
}

fn request(header: &str, value: &str) -> Parts {
    Request::get("/orders?page=1").header(header, value).body(()).unwrap().into_parts().0
}

fn bearer(token: &str) -> Parts {
    request("authorization", &format!("Bearer {token}"))
}

async fn ask(authorizer: &JwtAuthorizer, token: TokenBuilder) -> Result<Principal, AuthorizerAnswer> {
    authorizer.authorize(&bearer(&token.sign()), &RouteScopes::not_checked()).await
}

/// Answers 401 with these words, and the body and header of the documentation.
fn assert_unauthorized(answer: Result<Principal, AuthorizerAnswer>, description: &str) {
    let answer = answer.expect_err(description);
    assert_eq!(answer.status(), 401, "{description}");
    assert_eq!(answer.body(), r#"{"message":"Unauthorized"}"#);
    let expected = format!(r#"Bearer scope="" error="invalid_token" error_description="{description}""#);
    assert_eq!(answer.challenge(), Some(&*expected));
    let response: http::Response<Vec<u8>> = answer.into_response::<bytes::Bytes>().map(|body| body.to_vec());
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["www-authenticate"], &*expected);
}

// Row "token location".
#[tokio::test]
async fn takes_the_bare_token_or_the_one_after_bearer_from_one_header() {
    let issuer = issuer();
    let authorizer = builder(&issuer).build().unwrap();
    let good = token(&issuer).sign();
    let not_checked = RouteScopes::not_checked();
    for value in [good.clone(), format!("Bearer {good}"), format!("bearer  {good}")] {
        assert_eq!(
            authorizer.authorize(&request("authorization", &value), &not_checked).await.unwrap().subject(),
            "u1"
        );
    }
    for value in ["Basic dTpw", "Bearer", "Bearer ", &format!("Token {good}"), &format!("Bearer {good} x")] {
        let refused = authorizer.authorize(&request("authorization", value), &not_checked).await;
        assert_unauthorized(refused, "the token cannot be read");
    }
    let named = builder(&issuer).with_identity_source("$request.header.X-Token").build().unwrap();
    assert!(named.authorize(&request("x-token", &good), &not_checked).await.is_ok());
    let elsewhere = named.authorize(&bearer(&good), &not_checked).await.unwrap_err();
    assert_eq!((elsewhere.status().as_u16(), elsewhere.challenge()), (401, Some("Bearer")));
    let twice = Request::get("/").header("authorization", &good).header("authorization", &good);
    let twice = authorizer.authorize(&twice.body(()).unwrap().into_parts().0, &not_checked).await.unwrap_err();
    assert_eq!((twice.status().as_u16(), &*twice.body()), (401, r#"{"message":"Unauthorized"}"#));
}

#[test]
fn refuses_identity_sources_that_are_no_header() {
    let issuer = issuer();
    for source in [
        "$request.querystring.token",
        "$request.header.",
        "$request.header.a b",
        "Authorization",
        "$request.header.Cookie",
        "",
    ] {
        assert!(builder(&issuer).with_identity_source(source).build().is_err(), "{source}");
    }
}

// Row "order": signature before claims, claims before scopes.
#[tokio::test]
async fn stops_at_the_first_step_that_fails() {
    let issuer = issuer();
    let authorizer = builder(&issuer).build().unwrap();
    let all_wrong = token(&issuer).audience("elsewhere").expired().signed_by(&OTHER_KEY).header("kid", KEY.kid());
    assert_unauthorized(ask(&authorizer, all_wrong).await, "the token does not have a valid signature");
    let scopes = RouteScopes::any_of(["orders:write"]).unwrap();
    let expired = authorizer.authorize(&bearer(&token(&issuer).expired().sign()), &scopes).await;
    assert_unauthorized(expired, "the token has expired");
}

// Rows "discovery", "algorithms" and "key cache".
#[tokio::test]
async fn finds_the_keys_by_discovery_and_keeps_them_for_two_hours() {
    let clock = FixedClock::at(NOW);
    let served = issuer().with_clock(clock.clone()).serve_under("/pool").await.unwrap();
    let authorizer = JwtAuthorizer::aws_http_api(served.url())
        .audience("orders")
        .with_clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    let fresh = |served: &ServedIssuer| served.token().typ("JWT").audience("orders");
    assert!(ask(&authorizer, fresh(&served)).await.is_ok());
    let asked = |served: &ServedIssuer| {
        (served.requests_to(Endpoint::OpenidConfiguration), served.requests_to(Endpoint::KeySet))
    };
    assert_eq!(asked(&served), (1, 1));
    clock.advance(Duration::from_secs(3600 + 1800));
    assert!(ask(&authorizer, fresh(&served)).await.is_ok());
    assert_eq!(asked(&served), (1, 1));
    clock.advance(Duration::from_secs(1801));
    for _ in 0..200 {
        assert!(ask(&authorizer, fresh(&served)).await.is_ok());
        if asked(&served).1 == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(asked(&served).1, 2);
}

// Row "algorithms": RSA only.
#[tokio::test]
async fn takes_rs256_rs384_and_rs512_and_nothing_else() {
    let issuer = issuer();
    for algorithm in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Es256, Algorithm::Ed25519] {
        let _made = issuer.signing_key_for(algorithm);
    }
    let authorizer = builder(&issuer).build().unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512] {
        assert!(ask(&authorizer, token(&issuer).algorithm(algorithm)).await.is_ok(), "{algorithm}");
    }
    for algorithm in [Algorithm::Ps256, Algorithm::Es256, Algorithm::Ed25519] {
        let refused = ask(&authorizer, token(&issuer).algorithm(algorithm)).await;
        assert_unauthorized(refused, "the token is not signed with an RSA algorithm that is taken here");
    }
    for name in ["none", "HS256", "RS1"] {
        let refused = ask(&authorizer, token(&issuer).header("alg", name)).await;
        assert_unauthorized(refused, "the token is not signed with an RSA algorithm that is taken here");
    }
}

// Row "kid".
#[tokio::test]
async fn the_key_id_is_mandatory_and_an_unknown_one_brings_one_fetch() {
    let clock = FixedClock::at(NOW);
    let served = issuer().with_clock(clock.clone()).serve().await.unwrap();
    let authorizer =
        JwtAuthorizer::aws_http_api(served.url()).audience("orders").with_clock(Arc::new(clock)).build().unwrap();
    let fresh = || served.token().typ("JWT").audience("orders");
    assert!(ask(&authorizer, fresh()).await.is_ok());
    let unnamed = "the token does not name a key of the issuer";
    assert_unauthorized(ask(&authorizer, fresh().without_kid()).await, unnamed);
    assert_eq!(served.requests_to(Endpoint::KeySet), 1);
    assert_unauthorized(ask(&authorizer, fresh().header("kid", "invented")).await, unnamed);
    assert_unauthorized(ask(&authorizer, fresh().header("kid", "invented too")).await, unnamed);
    assert_eq!(served.requests_to(Endpoint::KeySet), 2);
}

#[tokio::test]
async fn a_rotated_key_is_found_at_its_first_token() {
    let served = issuer().with_clock(FixedClock::at(NOW)).serve().await.unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let authorizer = JwtAuthorizer::aws_http_api(served.url()).audience("orders").with_clock(clock).build().unwrap();
    assert!(ask(&authorizer, served.token().audience("orders")).await.is_ok());
    served.rotate();
    assert!(ask(&authorizer, served.token().audience("orders")).await.is_ok());
}

// Row "iss": exact, a final slash included.
#[tokio::test]
async fn the_issuer_is_compared_byte_for_byte() {
    let issuer = issuer();
    let authorizer = builder(&issuer).build().unwrap();
    for other in ["https://id.example/", "https://id.example:443", "HTTPS://ID.EXAMPLE", "https://id.example.evil", ""]
    {
        let refused = ask(&authorizer, token(&issuer).claim("iss", other)).await;
        assert_unauthorized(refused, "the token does not have a valid issuer");
    }
    let refused = ask(&authorizer, token(&issuer).without_claim("iss")).await;
    assert_unauthorized(refused, "the token does not have a valid issuer");
}

// Row "aud / client_id".
#[tokio::test]
async fn the_client_stands_in_only_where_there_is_no_audience() {
    let issuer = issuer();
    let authorizer = builder(&issuer).with_audience("stock").build().unwrap();
    let bare = || token(&issuer).without_claim("aud").without_claim("client_id");
    assert!(ask(&authorizer, bare().claim("client_id", "orders")).await.is_ok());
    assert!(ask(&authorizer, bare().claim("aud", json!(["x", "stock"]))).await.is_ok());
    for wrong in [
        bare(),
        bare().claim("client_id", "elsewhere"),
        bare().claim("client_id", 7),
        // Both present: `aud` counts.
        bare().claim("client_id", "orders").audience("elsewhere"),
        bare().claim("client_id", "orders").claim("aud", json!([])),
        bare().claim("client_id", "orders").claim("aud", 42),
        bare().audience("Orders"),
        bare().audience("orders "),
    ] {
        assert_unauthorized(ask(&authorizer, wrong).await, "the token does not have a valid audience");
    }
    let by_azp = ask(&authorizer, bare().claim("azp", "orders")).await;
    assert_unauthorized(by_azp, "the token does not have a valid audience");
}

// Row "exp, nbf, iat": no leeway.
#[tokio::test]
async fn times_are_compared_to_the_second() {
    let issuer = issuer();
    let authorizer = builder(&issuer).build().unwrap();
    let at = |name: &str, offset: i64| token(&issuer).claim(name, NOW.as_secs().saturating_add_signed(offset));
    for good in [at("exp", 1), at("nbf", 0), at("iat", 0), token(&issuer).without_claim("iat")] {
        assert!(ask(&authorizer, good).await.is_ok());
    }
    for (bad, words) in [
        (at("exp", 0), "the token has expired"),
        (at("exp", -1), "the token has expired"),
        (at("nbf", 1), "the token is not valid yet"),
        (at("iat", 1), "the token was issued in the future"),
        (token(&issuer).without_claim("exp"), "the token does not have a valid claim that is needed"),
        (token(&issuer).claim("exp", "soon"), "the token does not have a valid claim that is needed"),
        (token(&issuer).claim("nbf", true), "the token does not have a valid claim that is needed"),
    ] {
        assert_unauthorized(ask(&authorizer, bad).await, words);
    }
}

// Rows "scope / scp" and "missing scope".
#[tokio::test]
async fn any_one_of_the_routes_scopes_is_enough_and_none_is_403() {
    let issuer = issuer();
    let authorizer = builder(&issuer).build().unwrap();
    let scopes = RouteScopes::any_of(["orders:write", "orders:admin"]).unwrap();
    let with = |claim: &str, value: serde_json::Value| {
        bearer(&token(&issuer).without_claim("scope").claim(claim, value).sign())
    };
    for good in [
        with("scope", json!("orders:read orders:admin")),
        with("scp", json!(["orders:write"])),
        with("scp", json!("x orders:write")),
    ] {
        assert!(authorizer.authorize(&good, &scopes).await.is_ok());
    }
    for lacking in [
        with("scope", json!("orders:read")),
        with("scope", json!("")),
        with("scope", json!("orders:writer ORDERS:WRITE orders")),
        with("scp", json!([])),
        with("roles", json!(["orders:write"])),
    ] {
        let answer = authorizer.authorize(&lacking, &scopes).await.unwrap_err();
        assert_eq!((answer.status().as_u16(), &*answer.body()), (403, r#"{"message":"Forbidden"}"#));
        let challenge = answer.challenge().unwrap();
        assert!(
            challenge.starts_with(r#"Bearer scope="orders:write orders:admin" error="insufficient_scope""#),
            "{challenge}"
        );
    }
    assert!(authorizer.authorize(&with("scope", json!("other")), &RouteScopes::not_checked()).await.is_ok());
}

// Row "typ": not looked at, so that without scopes an ID token passes; with them it does not.
#[tokio::test]
async fn the_type_is_not_looked_at_and_scopes_keep_id_tokens_out() {
    let issuer = issuer();
    let authorizer = builder(&issuer).build().unwrap();
    for typ in ["JWT", "at+jwt", "anything"] {
        assert!(ask(&authorizer, token(&issuer).typ(typ)).await.is_ok(), "{typ}");
    }
    let id_token = || token(&issuer).without_claim("scope").claim("nonce", "n").claim("at_hash", "h");
    assert!(ask(&authorizer, id_token()).await.is_ok());
    let scopes = RouteScopes::any_of(["orders:read"]).unwrap();
    assert_eq!(authorizer.authorize(&bearer(&id_token().sign()), &scopes).await.unwrap_err().status(), 403);
    let stricter = builder(&issuer).with_access_tokens_only().build().unwrap();
    assert_unauthorized(ask(&stricter, id_token()).await, "the token is not valid");
    assert!(ask(&stricter, token(&issuer)).await.is_ok());
}

// Row "limits".
#[tokio::test]
async fn holds_requests_and_settings_to_the_bounds() {
    let issuer = issuer();
    let mut many = builder(&issuer);
    for n in 1..JwtAuthorizer::MAX_AUDIENCES {
        many = many.with_audience(format!("a{n}"));
    }
    let one_more = builder(&issuer);
    let one_more = (0..JwtAuthorizer::MAX_AUDIENCES).fold(one_more, |b, n| b.with_audience(format!("a{n}")));
    assert!(many.build().is_ok() && one_more.build().is_err());
    assert!(RouteScopes::any_of((0..10).map(|n| format!("s{n}"))).is_ok());
    assert!(RouteScopes::any_of((0..11).map(|n| format!("s{n}"))).is_err());
    for bad in ["", "a b", "a\"", "a\\", "ü"] {
        assert!(RouteScopes::any_of([bad]).is_err(), "{bad:?}");
    }
    assert!(RouteScopes::any_of(Vec::<String>::new()).is_err());

    let authorizer = builder(&issuer).build().unwrap();
    let mut parts = bearer(&token(&issuer).sign());
    let room = JwtAuthorizer::MAX_HEADER_BYTES - head_bytes(&parts) - "x-fill".len() - 4;
    parts.headers.insert("x-fill", "x".repeat(room).parse().unwrap());
    assert!(authorizer.authorize(&parts, &RouteScopes::not_checked()).await.is_ok());
    parts.headers.insert("x-fill", "x".repeat(room + 1).parse().unwrap());
    let answer = authorizer.authorize(&parts, &RouteScopes::not_checked()).await.unwrap_err();
    assert_eq!((answer.status().as_u16(), answer.challenge()), (431, None));
}

// Row "limits": 1500 ms and 150,000 bytes; and, unlike the original, trouble of ours is no 401.
#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_503_within_its_time() {
    for (endpoint, fault) in [
        (Endpoint::OpenidConfiguration, Fault::Hang),
        (Endpoint::KeySet, Fault::Hang),
        (Endpoint::OpenidConfiguration, Fault::Huge),
        (Endpoint::KeySet, Fault::Huge),
        (Endpoint::KeySet, Fault::Status(500)),
        (Endpoint::OpenidConfiguration, Fault::WrongIssuer),
    ] {
        let served = issuer().serve().await.unwrap();
        served.set_fault_on(endpoint, fault);
        let authorizer = JwtAuthorizer::aws_http_api(served.url())
            .audience("orders")
            .with_clock(Arc::new(FixedClock::at(NOW)))
            .build()
            .unwrap();
        let before = std::time::Instant::now();
        let answer = ask(&authorizer, served.token().audience("orders")).await.unwrap_err();
        let took = before.elapsed();
        assert_eq!((answer.status().as_u16(), answer.challenge()), (503, None), "{endpoint:?} {fault:?}");
        assert_eq!(answer.body(), r#"{"message":"Service Unavailable"}"#);
        assert!(took < Duration::from_millis(2900), "{endpoint:?} {fault:?} took {took:?}");
        let response: http::Response<bytes::Bytes> = answer.into_response();
        assert!(response.headers().contains_key("retry-after"));
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<(JourneyStep, String)>>);

impl JourneyListener for Heard {
    fn on_step(&self, _: u64, step: JourneyStep, detail: &str) {
        self.0.lock().unwrap().push((step, detail.to_owned()));
    }
}

#[tokio::test]
async fn tells_its_steps_without_the_token() {
    let served = issuer().serve().await.unwrap();
    let clock = Arc::new(FixedClock::at(NOW));
    let authorizer = JwtAuthorizer::aws_http_api(served.url()).audience("orders").with_clock(clock).build().unwrap();
    let heard = Arc::new(Heard::default());
    let token = served.token().audience("orders").sign();
    let journey = Journey::told_to(Arc::clone(&heard) as Arc<dyn JourneyListener>, 1);
    let request = bearer(&token);
    let passed = authorizer.authorize_watched(&request, &RouteScopes::not_checked(), &journey).await;
    assert!(passed.is_ok());
    let steps = std::mem::take(&mut *heard.0.lock().unwrap());
    use JourneyStep::{Authorizer, Key, KeySet, Verify};
    assert_eq!(steps.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [Authorizer, KeySet, Key, Verify]);
    let text = format!("{steps:?}");
    assert!(text.contains("fetched, requests to the issuer: ") && text.contains("u1@http://127.0.0.1"), "{text}");
    for part in token.split('.') {
        assert!(!text.contains(part), "{text}");
    }
    let again = authorizer.authorize_watched(&request, &RouteScopes::not_checked(), &journey).await;
    assert!(again.is_ok() && format!("{:?}", heard.0.lock().unwrap()).contains("in memory"));
    let bad = bearer(&served.token().audience("x").sign());
    assert!(authorizer.authorize_watched(&bad, &RouteScopes::not_checked(), &journey).await.is_err());
    assert!(format!("{:?}", heard.0.lock().unwrap()).contains("refused: made for another audience"));
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", builder(&issuer()).build().unwrap());
    assert!(text.contains("https://id.example") && text.contains("authorization"), "{text}");
}
