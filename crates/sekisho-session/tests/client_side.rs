//! Sessions without a store: what the browser's cookies can do, and what they cannot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{
    Authenticate as _, Credential, CredentialKind, Failure, FailureKind, Principal, Refusal, Reject, RevocationCheck,
    UnixSeconds, role,
};
use sekisho_http::HeadParts;
use sekisho_session::{
    ClientSideSessionsBuilder, Login, RequestSession, Session, SessionCookie, SessionId, SessionKey, SessionKeys,
    Sessions, SetCookie,
};
use sekisho_testkit::FixedClock;
use serde::{Deserialize, Serialize};

use crate::world::{ISSUER, START, somebody};

#[derive(Default, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
struct Tokens {
    access: String,
    count: u32,
    second_factor_is_due: bool,
}

struct World {
    sessions: Sessions,
    clock: FixedClock,
}

impl World {
    fn new() -> Self {
        Self::with(SessionKeys::new(SessionKey::generate().unwrap()), |builder| builder)
    }

    fn with(keys: SessionKeys, set: impl FnOnce(ClientSideSessionsBuilder) -> ClientSideSessionsBuilder) -> Self {
        let clock = FixedClock::at(START);
        let builder = Sessions::client_side(keys).with_clock(Arc::new(clock.clone()));
        Self { sessions: set(builder).build().unwrap(), clock }
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn logged_in(&self, principal: &Principal, access: &str) -> Jar {
        let mut jar = Jar::default();
        let mut session = jar.session(&self.sessions).await;
        session.log_in(Login::new(principal));
        let access = access.to_owned();
        session.update(move |tokens| tokens.access.clone_from(&access));
        jar.take(session.finish().await.unwrap());
        jar
    }
}

/// Is a browser.
#[derive(Clone, Debug, Default, PartialEq)]
struct Jar(BTreeMap<String, String>);

impl Jar {
    fn request(&self, sessions: &Sessions) -> RequestSession {
        let header = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let headers: [(&str, &[u8]); 1] = [("cookie", header.as_bytes())];
        sessions.begin(&HeadParts { method: "GET", path: "/", headers: &headers })
    }

    async fn session(&self, sessions: &Sessions) -> Session<Tokens> {
        self.request(sessions).session(None).await.unwrap()
    }

    fn take(&mut self, set: Vec<SetCookie>) {
        for set in set {
            let text = set.expose();
            assert!(text.len() < 4096 && text.ends_with("; Secure; HttpOnly; SameSite=Lax"), "{text}");
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("; Max-Age=0; ") {
                assert!(self.0.remove(name).is_some(), "only what is there is taken away");
            } else {
                assert!(!text.contains("Max-Age"), "it ends with the browser");
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    async fn who(&self, sessions: &Sessions) -> Option<String> {
        let principal = self.session(sessions).await.principal().unwrap();
        principal.map(|principal| principal.subject().to_owned())
    }

    /// Asks as a checkpoint does, which sees one cookie.
    async fn passes(&self, sessions: &Sessions) -> Result<Principal, Refusal> {
        let value = self.0.get("__Host-session").map_or("", String::as_str);
        let credential = Credential::new(CredentialKind::Cookie, value);
        let now = sessions.authenticator().authenticate_now(credential, START).unwrap();
        assert_eq!(sessions.authenticator().authenticate(credential, START).await.is_ok(), now.is_ok());
        now
    }

    async fn id(&self, sessions: &Sessions) -> Option<SessionId> {
        self.session(sessions).await.id()
    }
}

fn is_signed_out(passed: Result<Principal, Refusal>) -> bool {
    matches!(passed, Err(Refusal::Reject(Reject::SignedOut)))
}

#[tokio::test]
async fn a_login_is_in_the_cookies_and_a_logout_takes_them_away() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), &"t".repeat(4000)).await;
    assert_eq!(jar.names(), ["__Host-session", "__Host-session.0", "__Host-session.1"]);
    assert_eq!(jar.who(&world.sessions).await.as_deref(), Some("alice"));
    assert_eq!(jar.passes(&world.sessions).await.unwrap(), somebody("alice"));
    assert_eq!(jar.session(&world.sessions).await.data().access.len(), 4000);
    let request = jar.request(&world.sessions);
    request.log_out();
    jar.take(request.finish().await.unwrap());
    assert_eq!(jar, Jar::default());
    assert!(is_signed_out(jar.passes(&world.sessions).await));
}

#[tokio::test]
async fn what_grows_gets_more_cookies_and_what_shrinks_gives_them_back() {
    let world = World::new();
    let mut jar = Jar::default();
    for (length, cookies) in [(10, 2), (8000, 4), (3000, 3), (0, 2), (8400, 4)] {
        let mut session = jar.session(&world.sessions).await;
        session.update(move |tokens| {
            tokens.count += 1;
            tokens.access = "x".repeat(length);
        });
        jar.take(session.finish().await.unwrap());
        assert_eq!(jar.0.len(), cookies, "{length}");
        assert_eq!(jar.session(&world.sessions).await.data().access.len(), length);
    }
    assert_eq!(jar.session(&world.sessions).await.data().count, 5);
}

#[tokio::test]
async fn what_is_too_long_is_our_own_fault_and_changes_nothing() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), "t").await;
    let mut session = jar.session(&world.sessions).await;
    session.update(|tokens| tokens.access = "x".repeat(9000));
    let failure = session.finish().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    assert!(session.finish().await.unwrap().is_empty());
    let long = PrincipalBuilder::new(ISSUER, "alice").with_claim("groups", "g".repeat(3000)).build().unwrap();
    let request = jar.request(&world.sessions);
    request.log_in(Login::new(&long));
    assert_eq!(request.finish().await.unwrap_err().kind(), FailureKind::Misconfigured);
    jar.take(request.finish().await.unwrap());
    assert_eq!(jar.session(&world.sessions).await.data().access, "t");
}

#[tokio::test]
async fn both_timeouts_are_kept_here_and_not_by_the_browser() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), "t").await;
    let first = jar.clone();
    for _ in 0..24 {
        world.wait(1799);
        // Also by a request in which nobody looks.
        jar.take(jar.request(&world.sessions).finish().await.unwrap());
        assert!(jar.passes(&world.sessions).await.is_ok());
    }
    assert!(first.passes(&world.sessions).await.is_err(), "a copy that was not used has idled out");
    assert_eq!(first.who(&world.sessions).await, None);
    world.wait(12 * 3600 - 24 * 1799 - 1);
    jar.take(jar.request(&world.sessions).finish().await.unwrap());
    assert!(jar.passes(&world.sessions).await.is_ok());
    world.wait(1);
    assert_eq!((jar.passes(&world.sessions).await.ok(), jar.who(&world.sessions).await), (None, None));
}

#[tokio::test]
async fn is_extended_once_a_minute_at_the_most_and_never_by_a_quiet_look() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), "t").await;
    world.wait(59);
    assert!(jar.request(&world.sessions).finish().await.unwrap().is_empty());
    world.wait(1);
    let quiet = jar.request(&world.sessions);
    quiet.load_quietly(None).await.unwrap();
    assert!(quiet.principal().unwrap().is_some());
    assert!(quiet.finish().await.unwrap().is_empty());
    let loud = jar.session(&world.sessions).await;
    let set = loud.finish().await.unwrap();
    assert_eq!(set.len(), 2, "who, and the data");
    jar.take(set);
    assert!(jar.request(&world.sessions).finish().await.unwrap().is_empty());
    let quiet = jar.request(&world.sessions);
    quiet.load_quietly(None).await.unwrap();
    world.wait(60);
    quiet.load(None).await.unwrap();
    assert_eq!(quiet.finish().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_login_has_another_id_and_takes_over_what_was_kept_before() {
    let world = World::new();
    let mut jar = Jar::default();
    let mut session = jar.session(&world.sessions).await;
    session.update(|tokens| tokens.count = 7);
    jar.take(session.finish().await.unwrap());
    let (planted, before) = (jar.clone(), jar.id(&world.sessions).await);
    let request = jar.request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")));
    jar.take(request.finish().await.unwrap());
    assert_ne!(jar.id(&world.sessions).await, before);
    assert_eq!(jar.session(&world.sessions).await.data().count, 7);
    assert_eq!(planted.who(&world.sessions).await, None, "who planted a session is not logged in by it");
    // Somebody else gets nothing of it, and neither does who leaves it behind.
    let request = jar.request(&world.sessions);
    request.log_in(Login::new(&somebody("bob")));
    jar.take(request.finish().await.unwrap());
    assert_eq!(jar.who(&world.sessions).await.as_deref(), Some("bob"));
    assert_eq!((jar.session(&world.sessions).await.data().count, jar.0.len()), (0, 1));
    let mut jar = planted.clone();
    let request = jar.request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")).without_earlier_data());
    jar.take(request.finish().await.unwrap());
    assert_eq!(jar.session(&world.sessions).await.data().count, 0);
}

#[tokio::test]
async fn rights_change_and_the_session_stays_the_same() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), "t").await;
    let before = jar.id(&world.sessions).await;
    world.wait(10);
    let admin = PrincipalBuilder::new(ISSUER, "alice").with_roles(["admin"]).build().unwrap();
    let request = jar.request(&world.sessions);
    request.elevate(&admin);
    jar.take(request.finish().await.unwrap());
    let principal = jar.passes(&world.sessions).await.unwrap();
    assert!(role("admin").check(&principal, START).is_ok());
    assert_eq!(principal.authenticated_at(), Some(START), "other rights are no login");
    assert_eq!(jar.id(&world.sessions).await, before);
    for principal in [somebody("bob"), somebody("mallory")] {
        let request = jar.request(&world.sessions);
        request.elevate(&principal);
        assert_eq!(request.finish().await.unwrap_err().kind(), FailureKind::Misconfigured);
    }
    let request = Jar::default().request(&world.sessions);
    request.elevate(&admin);
    assert_eq!(request.finish().await.unwrap_err().kind(), FailureKind::Misconfigured);
}

#[tokio::test]
async fn data_that_do_not_belong_to_the_login_are_refused_and_taken_away() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), "old").await;
    let old = jar.clone();
    let mut session = jar.session(&world.sessions).await;
    session.update(|tokens| tokens.second_factor_is_due = true);
    jar.take(session.finish().await.unwrap());
    let bobs = world.logged_in(&somebody("bob"), "bobs").await;
    let data = "__Host-session.0".to_owned();
    let mut without = jar.clone();
    without.0.remove(&data);
    for (what, with) in [("an earlier state", &old), ("somebody else's", &bobs), ("none", &without)] {
        let mut mixed = jar.clone();
        mixed.0.remove(&data);
        mixed.0.extend(with.0.get(&data).map(|value| (data.clone(), value.clone())));
        let request = mixed.request(&world.sessions);
        let refused = request.session::<Tokens>(None).await.map(|session| session.data().clone());
        assert!(matches!(refused, Err(Refusal::Reject(Reject::MalformedRequest))), "{what}");
        mixed.take(request.finish().await.unwrap());
        assert_eq!(mixed, Jar::default(), "{what}: the browser would bring it for ever");
    }
    // A login does not care what was there.
    let request = without.request(&world.sessions);
    request.log_in(Login::new(&somebody("carol")));
    without.take(request.finish().await.unwrap());
    assert_eq!(without.who(&world.sessions).await.as_deref(), Some("carol"));
}

#[tokio::test]
async fn no_changed_byte_opens_anything() {
    let world = World::new();
    let jar = world.logged_in(&somebody("alice"), "t").await;
    let text = jar.0["__Host-session"].clone();
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.clone();
        let other = if changed.as_bytes()[at] == b'A' { "B" } else { "A" };
        changed.replace_range(at..=at, other);
        let changed = Jar(BTreeMap::from([("__Host-session".to_owned(), changed)]));
        assert!(is_signed_out(changed.passes(&world.sessions).await), "{at}");
        assert_eq!(changed.who(&world.sessions).await, None);
    }
    let swapped = jar.0["__Host-session.0"].clone();
    let garbage = ["x".to_owned(), "A".repeat(48), text[..text.len() - 4].to_owned(), swapped[1..].to_owned()];
    for value in garbage {
        let jar = Jar(BTreeMap::from([("__Host-session".to_owned(), value)]));
        assert_eq!((jar.passes(&world.sessions).await.ok(), jar.who(&world.sessions).await), (None, None));
    }
}

#[tokio::test]
async fn counts_for_its_keys_and_its_name_alone() {
    let (old, new) = (SessionKey::generate().unwrap(), SessionKey::generate().unwrap());
    let before = World::with(SessionKeys::new(old.clone()), |builder| builder);
    let mut jar = before.logged_in(&somebody("alice"), "t").await;
    let changing = World::with(SessionKeys::new(new.clone()).with_older(old.clone()), |builder| builder);
    let after = World::with(SessionKeys::new(new), |builder| builder);
    assert_eq!(jar.who(&after.sessions).await, None);
    assert_eq!(jar.who(&changing.sessions).await.as_deref(), Some("alice"));
    changing.wait(60);
    jar.take(jar.request(&changing.sessions).finish().await.unwrap());
    assert_eq!(jar.session(&after.sessions).await.data().access, "t", "all of it is sealed anew when it is extended");
    let named = SessionCookie::builder().with_name("__Host-other").build().unwrap();
    let other = World::with(SessionKeys::new(old), |builder| builder.with_cookie(named));
    let jar = before.logged_in(&somebody("alice"), "").await;
    let renamed = Jar(jar.0.iter().map(|(name, value)| (name.replace("session", "other"), value.clone())).collect());
    assert_eq!(renamed.who(&other.sessions).await, None);
}

#[tokio::test]
async fn a_name_that_stands_twice_is_refused_and_a_logout_takes_all_away() {
    let world = World::new();
    let jar = world.logged_in(&somebody("alice"), "t").await;
    let cookies: Vec<_> = jar.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for twice in &cookies {
        let header = format!("{}; {twice}", cookies.join("; "));
        let headers: [(&str, &[u8]); 1] = [("cookie", header.as_bytes())];
        let request = world.sessions.begin(&HeadParts { method: "GET", path: "/", headers: &headers });
        let refused = request.load(None).await;
        assert!(matches!(refused, Err(Refusal::Reject(Reject::SeveralCredentials))), "{refused:?}");
        request.log_out();
        assert_eq!(request.finish().await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn what_needs_a_store_is_not_to_be_had() {
    let world = World::new();
    let jar = world.logged_in(&somebody("alice"), "t").await;
    let (sessions, alice) = (&world.sessions, somebody("alice").id());
    let id = jar.id(sessions).await.unwrap();
    let failures: [Failure; 7] = [
        sessions.list(&alice).await.unwrap_err(),
        sessions.end(&alice, &id).await.unwrap_err(),
        sessions.end_all(&alice).await.unwrap_err(),
        sessions.end_others(&alice, &id).await.unwrap_err(),
        sessions.end_provider_session(ISSUER, "s").await.unwrap_err(),
        sessions.end_client(ISSUER, "c").await.unwrap_err(),
        {
            let request = jar.request(sessions);
            request.log_in(Login::new(&somebody("alice")).with_remembering());
            request.finish().await.unwrap_err()
        },
    ];
    assert!(failures.iter().all(|failure| failure.kind() == FailureKind::Misconfigured), "{failures:?}");
    assert_eq!(sessions.sweep().await.unwrap(), 0);
    assert!(jar.request(sessions).log_in_remembered().await.unwrap().is_none());
    assert!(jar.request(sessions).reload().await.is_ok());
}

#[tokio::test]
async fn of_two_requests_at_once_the_later_answer_wins() {
    let world = World::new();
    let mut jar = world.logged_in(&somebody("alice"), "t").await;
    let (mut one, mut other) = (jar.session(&world.sessions).await, jar.session(&world.sessions).await);
    one.update(|tokens| tokens.count += 1);
    other.update(|tokens| tokens.access = "other".into());
    jar.take(one.finish().await.unwrap());
    jar.take(other.finish().await.unwrap());
    let expected = Tokens { access: "other".into(), ..Tokens::default() };
    assert_eq!(jar.session(&world.sessions).await.data(), &expected, "as its documentation says");
}

#[tokio::test]
async fn a_form_counts_for_its_session_alone() {
    let world = World::new();
    let mut jar = Jar::default();
    let request = jar.request(&world.sessions);
    request.load(None).await.unwrap();
    let token = request.form_token().unwrap();
    jar.take(request.finish().await.unwrap());
    assert!(jar.session(&world.sessions).await.check_form_token(&token).is_ok());
    let other = world.logged_in(&somebody("alice"), "").await;
    assert!(other.session(&world.sessions).await.check_form_token(&token).is_err());
}

/// Knows one withdrawn provider session, and up to when a subject's logins are withdrawn.
#[derive(Default)]
struct Withdrawn {
    is_broken: AtomicBool,
    not_before: std::sync::Mutex<Option<u64>>,
}

impl RevocationCheck for Withdrawn {
    fn is_revoked(&self, principal: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("the list is stale"));
        }
        let issued_at = principal.claims().get("iat").and_then(|iat| iat.as_numeric_date()).unwrap();
        let is_early = self.not_before.lock().unwrap().is_some_and(|not_before| issued_at < not_before);
        Ok(is_early || principal.session_id().as_deref() == Some("s1"))
    }
}

#[tokio::test]
async fn what_was_withdrawn_at_the_provider_is_refused_also_as_a_copy() {
    let withdrawn = Arc::new(Withdrawn::default());
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let world = World::with(keys.clone(), |builder| builder.with_revocation(Arc::clone(&withdrawn) as _));
    let without = World::with(keys, |builder| builder);
    let with_sid = |sid| PrincipalBuilder::new(ISSUER, "alice").with_claim("sid", sid).build().unwrap();
    let gone = world.logged_in(&with_sid("s1"), "t").await;
    let mut alive = world.logged_in(&with_sid("s2"), "t").await;
    assert!(gone.passes(&without.sessions).await.is_ok(), "without the check a copy counts");
    assert_eq!((gone.passes(&world.sessions).await.ok(), gone.who(&world.sessions).await), (None, None));
    assert_eq!(alive.who(&world.sessions).await.as_deref(), Some("alice"));
    // By subject: what began before, whatever came of it since, and nothing that begins later.
    world.wait(60);
    let request = alive.request(&world.sessions);
    request.elevate(&with_sid("s2"));
    alive.take(request.finish().await.unwrap());
    *withdrawn.not_before.lock().unwrap() = Some(START.as_secs() + 30);
    assert_eq!((alive.passes(&world.sessions).await.ok(), alive.who(&world.sessions).await), (None, None));
    let again = world.logged_in(&with_sid("s3"), "t").await;
    assert!(again.passes(&world.sessions).await.is_ok());
    withdrawn.is_broken.store(true, Ordering::SeqCst);
    assert!(matches!(again.passes(&world.sessions).await, Err(Refusal::Failure(_))));
    let request = again.request(&world.sessions);
    assert!(matches!(request.load(None).await, Err(Refusal::Failure(_))));
    assert!(request.finish().await.unwrap().is_empty(), "nobody is logged out by it");
    assert!(request.session_or_anonymous::<Tokens>(None).await.unwrap().is_degraded());
}

#[tokio::test]
async fn a_logout_needs_nobodys_word() {
    let withdrawn = Arc::new(Withdrawn::default());
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let world = World::with(keys, |builder| builder.with_revocation(Arc::clone(&withdrawn) as _));
    let jar = world.logged_in(&somebody("alice"), "t").await;
    withdrawn.is_broken.store(true, Ordering::SeqCst);
    for has_failed in [false, true] {
        for has_looked in [false, true] {
            let (mut jar, request) = (jar.clone(), jar.request(&world.sessions));
            if has_looked {
                assert!(request.session_or_anonymous::<Tokens>(None).await.unwrap().is_degraded());
            }
            request.log_out();
            let set = if has_failed { request.finish_failed().await } else { request.finish().await };
            jar.take(set.unwrap());
            assert_eq!(jar, Jar::default());
        }
    }
    let request = jar.request(&world.sessions);
    request.rotate();
    assert!(request.finish().await.is_err(), "all else needs the session");
}

#[tokio::test]
async fn another_request_that_cannot_take_the_cookies_away_does_not_say_that_it_has() {
    let world = World::new();
    let jar = world.logged_in(&somebody("alice"), "t").await;
    let request = jar.request(&world.sessions);
    request.load(None).await.unwrap();
    let own = request.detached();
    own.log_out();
    assert_eq!(own.finish().await.unwrap_err().kind(), FailureKind::Misconfigured);
}

#[tokio::test]
async fn nothing_of_it_can_be_read_in_the_browser_or_in_debug() {
    let world = World::new();
    let jar = world.logged_in(&somebody("alice"), "s3cret").await;
    for value in jar.0.values() {
        let raw = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(value.trim_start_matches('.')).unwrap();
        for secret in ["alice", "s3cret", "id.example"] {
            assert!(!raw.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
    let session = jar.session(&world.sessions).await;
    let shown = format!("{session:?} {:?} {:?}", world.sessions, world.sessions.authenticator());
    for secret in ["s3cret", "alice", &jar.0["__Host-session"]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn refuses_settings_that_cannot_work() {
    let key = SessionKey::generate().unwrap();
    let builder = || Sessions::client_side(SessionKeys::new(key.clone()));
    let seconds = Duration::from_secs;
    assert!(builder().build().is_ok());
    for broken in [
        builder().with_idle_timeout(Duration::from_millis(999)),
        builder().with_idle_timeout(seconds(100)).with_absolute_timeout(seconds(99)),
        builder().with_absolute_timeout(seconds(401 * 86_400)),
        Sessions::client_side(SessionKeys::new(key.clone()).with_older(key.clone())),
    ] {
        assert!(broken.build().is_err());
    }
}
