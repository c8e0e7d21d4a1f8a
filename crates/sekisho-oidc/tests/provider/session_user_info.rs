//! Asking about whoever is logged in, by a login that is kept in a session.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Claim, FailureKind, Reject};
use sekisho_http::HeadParts;
use sekisho_oidc::{LoginRequest, RelyingParty, UserInfoError};
use sekisho_session::{MemorySessionStore, RequestSession, SessionKey, SessionKeys, Sessions, SetCookie};
use sekisho_testkit::LogRecorder;

use crate::scripted::{ACCESS_TOKEN, CLIENT, REFRESH_TOKEN, Scripted, broken, header};

const NEXT: &str = "second-access-token-that-nobody-sees";

fn party(op: &Arc<Scripted>) -> RelyingParty {
    let clock = Arc::new(op.clock.clone());
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys.clone()).with_clock(clock.clone());
    let party = RelyingParty::builder(sessions.build().unwrap(), keys).with_provider("main", op.provider());
    party.with_clock(clock).build().unwrap()
}

fn cookies(set: &[SetCookie]) -> String {
    let pairs = set.iter().filter(|set| !set.expose().contains("Max-Age=0"));
    pairs.map(|set| set.expose().split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// Begins a request of this browser.
fn session(party: &RelyingParty, browser: &str) -> RequestSession {
    party.sessions().begin(&HeadParts { method: "GET", path: "/", headers: &[("cookie", browser.as_bytes())] })
}

/// Logs a browser in as `u1` and returns its cookies.
async fn log_in(op: &Scripted, party: &RelyingParty) -> String {
    let head = HeadParts { method: "GET", path: "/login", headers: &[] };
    let begun = party.login(&head, None, None, &LoginRequest::new()).await;
    let url = begun.headers().find(|(name, _)| *name == "location").expect("a location").1;
    let (query, pending) = (op.authorize(url), cookies(begun.cookies()));
    let head = HeadParts { method: "GET", path: "/callback", headers: &[("cookie", pending.as_bytes())] };
    let session = party.sessions().begin(&head);
    assert_eq!(party.callback(&head, &query, &session).await.status(), 303);
    cookies(&session.finish().await.unwrap())
}

/// Answers refreshes with a token of its own.
fn renews(op: &Scripted) {
    op.answer(|mut answer| {
        answer["access_token"] = NEXT.into();
        answer
    });
}

fn bearers(op: &Scripted) -> Vec<String> {
    op.asked("/userinfo").iter().map(|request| header(request, "authorization").unwrap()).collect()
}

#[tokio::test]
async fn tells_what_the_provider_says_of_whoever_is_logged_in() {
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    let claims = |info: sekisho_oidc::UserInfo| info.claims().get("email").unwrap().as_str().unwrap().into_owned();
    let info = party.user_info(&session(&party, &browser)).await.expect("claims");
    assert_eq!(claims(info), "u1@shop.example");
    assert_eq!(bearers(&op), [format!("Bearer {ACCESS_TOKEN}")]);

    let signed = op.issuer.token().typ("JWT").audience(CLIENT).claim("email", "signed@shop.example").sign();
    op.user_info("application/jwt", signed);
    let info = party.user_info(&session(&party, &browser)).await.expect("signed claims, asked for anew");
    assert_eq!(claims(info), "signed@shop.example");
}

#[tokio::test]
async fn nobody_is_asked_about_who_is_not_logged_in() {
    let op = Scripted::new();
    let party = party(&op);
    for browser in [String::new(), format!("__Host-session={}", "x".repeat(60))] {
        let refused = party.user_info(&session(&party, &browser)).await;
        assert!(matches!(refused, Err(UserInfoError::SignedOut)), "{refused:?}");
    }
    assert!(op.asked("/userinfo").is_empty());
}

#[tokio::test]
async fn refuses_what_is_of_somebody_else_or_not_signed_as_it_must_be() {
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    let signed = || op.issuer.token().typ("JWT").audience(CLIENT);
    for (kind, body, why) in [
        ("application/json", r#"{"sub":"u2"}"#.to_owned(), Reject::Invalid(Claim::Subject)),
        ("application/json", r#"{"sub":"U1"}"#.to_owned(), Reject::Invalid(Claim::Subject)),
        ("application/json", r#"{"email":"u1@shop.example"}"#.to_owned(), Reject::Missing(Claim::Subject)),
        ("application/jwt", signed().subject("u2").sign(), Reject::Invalid(Claim::Subject)),
        ("application/jwt", broken(&signed().sign()), Reject::Signature),
        ("application/jwt", signed().audience("other").sign(), Reject::Audience),
    ] {
        op.user_info(kind, body);
        match party.user_info(&session(&party, &browser)).await {
            Err(UserInfoError::Refused(reject)) => assert_eq!(reject, why, "{kind}"),
            other => panic!("{why:?}: {other:?}"),
        }
    }
    assert!(party.access_token(&session(&party, &browser)).await.is_ok(), "and the session lives");
}

#[tokio::test]
async fn refuses_a_giant_and_what_is_neither_json_nor_a_jwt() {
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    let giant = format!(r#"{{"sub":"u1","a":"{}"}}"#, "a".repeat(1 << 20));
    for (kind, body) in [
        ("application/json", giant.clone()),
        ("application/jwt", giant),
        ("text/html", r#"{"sub":"u1"}"#.to_owned()),
        ("", r#"{"sub":"u1"}"#.to_owned()),
        ("application/jwt", r#"{"sub":"u1"}"#.to_owned()),
    ] {
        op.user_info(kind, body);
        match party.user_info(&session(&party, &browser)).await {
            Err(UserInfoError::Failure(failure)) => assert_eq!(failure.kind(), FailureKind::BadGateway, "{kind}"),
            Err(UserInfoError::Refused(Reject::Malformed)) if kind == "application/jwt" => {}
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_refreshed_before_the_provider_is_asked() {
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    renews(&op);
    op.clock.advance(Duration::from_secs(300));
    party.user_info(&session(&party, &browser)).await.expect("claims");
    assert_eq!(bearers(&op), [format!("Bearer {NEXT}")]);
}

#[tokio::test]
async fn a_token_that_the_provider_does_not_take_is_replaced_once() {
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    renews(&op);
    op.kill(ACCESS_TOKEN);
    let refused = party.user_info(&session(&party, &browser)).await;
    assert!(matches!(refused, Err(UserInfoError::AccessToken)), "too new to be replaced: {refused:?}");
    assert_eq!(bearers(&op).len(), 1);
    op.clock.advance(Duration::from_secs(10));
    party.user_info(&session(&party, &browser)).await.expect("claims, by another token");
    assert_eq!(bearers(&op)[1..], [format!("Bearer {ACCESS_TOKEN}"), format!("Bearer {NEXT}")]);

    op.instead("/userinfo", Some((401, "")));
    op.clock.advance(Duration::from_secs(10));
    let refused = party.user_info(&session(&party, &browser)).await;
    assert!(matches!(refused, Err(UserInfoError::AccessToken)), "{refused:?}");
    assert_eq!(bearers(&op).len(), 5, "and no third time");
}

#[tokio::test]
async fn a_login_that_the_provider_no_longer_honours_ends_with_the_question() {
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    op.instead("/token", Some((400, r#"{"error":"invalid_grant"}"#)));
    op.clock.advance(Duration::from_secs(300));
    let asking = session(&party, &browser);
    assert!(matches!(party.user_info(&asking).await, Err(UserInfoError::SignedOut)));
    let gone = asking.finish().await.unwrap();
    assert!(gone.iter().any(|cookie| cookie.expose().contains("Max-Age=0")), "its cookie goes with the answer");
    assert!(matches!(party.user_info(&session(&party, &browser)).await, Err(UserInfoError::SignedOut)));
    assert!(op.asked("/userinfo").is_empty());
}

#[tokio::test]
async fn no_error_and_no_line_of_the_log_shows_a_token_or_a_word_of_the_answer() {
    let lines = LogRecorder::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let op = Scripted::new();
    let party = party(&op);
    let browser = log_in(&op, &party).await;
    let mut seen = format!("{:?}", party.user_info(&session(&party, &browser)).await.unwrap());
    let hush = format!(r#"{{"sub":"hush","access_token":"{ACCESS_TOKEN}"}}"#);
    for status in [200, 302, 400, 401, 403, 429, 500] {
        op.instead("/userinfo", Some((status, &hush)));
        op.clock.advance(Duration::from_secs(10));
        let error = party.user_info(&session(&party, &browser)).await.unwrap_err();
        let source = std::error::Error::source(&error);
        write!(seen, "{error} {error:?} {source:?}").unwrap();
    }
    let log = lines.text();
    assert!(log.contains("logged in"), "the log is read: {log}");
    for secret in [ACCESS_TOKEN, REFRESH_TOKEN, "hush", "u1@shop"] {
        assert!(!log.contains(secret) && !seen.contains(secret), "{secret}\n{log}\n{seen}");
    }
}
