//! What goes to the log, to errors, to `Debug` and to the store: never what the cookie holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[expect(dead_code, reason = "the other tests need more of it")]
mod world;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_http::HeadParts;
use sekisho_session::{Login, RememberedLogins, RequestSession, SessionKey, SessionKeys, Sessions, SetCookie};
use sekisho_testkit::LogRecorder;

use world::{Browser, Cart, ISSUER, START, World, somebody};

/// Is everything that a cookie could be recognized by: its text, the bytes behind it, and either as hexadecimal or list.
fn traces(cookie: &str) -> Vec<Vec<u8>> {
    let value = cookie.split_once('=').unwrap().1;
    let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut traces = vec![value.into()];
    // Some have a number before it, or are of several parts.
    for text in value.split(|c| !is_digit(c)).filter(|part| part.len() >= 22) {
        let bytes = base64(text);
        let secret = &bytes[4..];
        let hexadecimal: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        let list = format!("{:?}", &secret[..8]);
        traces.extend([
            text.into(),
            text[8..text.len().min(40)].into(),
            secret.into(),
            hexadecimal.clone().into(),
            hexadecimal.to_uppercase().into(),
            list.trim_matches(['[', ']']).into(),
        ]);
    }
    assert!(traces.len() > 1, "nothing to look for: {cookie}");
    traces
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |b: u8| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        u32::try_from(alphabet.iter().position(|c| *c == b).unwrap()).unwrap()
    };
    let word = |four: &[u8]| four.iter().fold(0, |word, b| word << 6 | digit(*b));
    text.as_bytes().chunks(4).flat_map(|four| word(four).to_be_bytes()[1..].to_vec()).collect()
}

#[tokio::test]
async fn what_the_cookie_holds_is_seen_nowhere_else() {
    let recorder = LogRecorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let world = World::with(|builder| builder.with_session_limit(1));
    let mut seen = String::new();
    let mut cookies = Vec::new();
    let mut browser = Browser::default();
    browser.add(&world.sessions, 1).await.unwrap();
    cookies.push(browser.cookie.clone().unwrap());
    for turn in 0..4 {
        let session = browser.session(&world.sessions).await;
        let admin = PrincipalBuilder::new(ISSUER, "alice").with_scope("admin").build().unwrap();
        match turn {
            0 => session.log_in(Login::new(&somebody("alice")).with_device("Firefox")),
            1 => session.elevate(&admin),
            2 => session.rotate(),
            _ => {
                let other = world.logged_in("alice").await;
                cookies.push(other.cookie.unwrap());
            }
        }
        let set = session.finish().await.unwrap();
        write!(seen, "{session:?} {:?} {set:?} {:?}", session.request(), session.principal()).unwrap();
        browser.take(set);
        cookies.push(browser.cookie.clone().unwrap());
    }
    write!(seen, "{:?} {:?}", world.sessions, world.sessions.authenticator()).unwrap();
    write!(seen, "{:?}", world.sessions.list(&somebody("alice").id()).await.unwrap()).unwrap();
    let browser = world.logged_in("alice").await;
    let slow = {
        let mut slow = browser.session(&world.sessions).await;
        slow.update(|cart| cart.items.push(1));
        slow
    };
    world.sessions.end_all(&somebody("alice").id()).await.unwrap();
    slow.finish().await.unwrap();
    let other = world.logged_in("alice").await;
    cookies.push(other.cookie.clone().unwrap());
    for flag in [&world.store.is_corrupt, &world.store.is_down] {
        flag.store(true, Ordering::SeqCst);
        let refusal = other.request(&world.sessions).session::<Cart>(None).await.unwrap_err();
        write!(seen, "{refusal} {refusal:?}").unwrap();
        let request = other.request(&world.sessions);
        let _ = request.session_or_anonymous::<Cart>(None).await;
        request.rotate();
        let failure = request.finish().await.unwrap_err();
        write!(seen, "{failure} {failure:?}").unwrap();
        flag.store(false, Ordering::SeqCst);
    }
    drop(guard);
    let log = recorder.text();
    for expected in ["logged in", "too many", "goes on without its session", "ended while a request"] {
        assert!(log.contains(expected), "no event {expected:?}");
    }
    let stored = world.store.handed.lock().unwrap().clone();
    assert!(stored.len() > 2000 && cookies.len() > 5);
    for cookie in &cookies {
        is_seen_in_none(cookie, &[("log", log.as_bytes()), ("Debug", seen.as_bytes()), ("store", &stored)]);
    }
}

#[track_caller]
fn is_seen_in_none(cookie: &str, places: &[(&str, &[u8])]) {
    for trace in traces(cookie) {
        for (place, text) in places {
            assert!(!text.windows(trace.len()).any(|window| window == trace), "in {place}: {cookie}");
        }
    }
}

/// Is a browser with any number of cookies; it remembers all that it ever had.
#[derive(Default)]
struct Jar {
    now: BTreeMap<String, String>,
    all: Vec<String>,
}

impl Jar {
    fn request(&self, sessions: &Sessions) -> RequestSession {
        let header = self.now.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        sessions.begin(&HeadParts { method: "GET", path: "/", headers: &[("cookie", header.as_bytes())] })
    }

    fn take(&mut self, set: &[SetCookie]) {
        for set in set {
            let pair = set.expose().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if set.expose().contains("Max-Age=0") {
                self.now.remove(name);
            } else {
                self.now.insert(name.to_owned(), value.to_owned());
                self.all.push(pair.to_owned());
            }
        }
    }
}

#[tokio::test]
async fn what_the_cookie_of_a_remembered_login_holds_is_seen_nowhere_else() {
    let recorder = LogRecorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let remembered = RememberedLogins::for_lifetime(Duration::from_secs(86_400 * 30)).unwrap();
    let world = World::with(|builder| builder.with_remembered_logins(remembered));
    let (mut jar, mut seen) = (Jar::default(), String::new());
    let request = jar.request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")).with_device("Firefox").with_remembering());
    jar.take(&request.finish().await.unwrap());
    let first = jar.now.clone();
    for _ in 0..3 {
        // The browser was closed, and the session's cookie is gone.
        jar.now.remove("__Host-session");
        let request = jar.request(&world.sessions);
        request.load(None).await.unwrap();
        let found = request.log_in_remembered().await.unwrap();
        let set = request.finish().await.unwrap();
        write!(seen, "{request:?} {found:?} {set:?}").unwrap();
        jar.take(&set);
        world.wait(60);
    }
    // Somebody has stolen the first one: it is good no more, and ends all that came of it.
    let thief = Jar { now: first, all: Vec::new() };
    let request = thief.request(&world.sessions);
    request.load(None).await.unwrap();
    write!(seen, "{:?} {request:?}", request.log_in_remembered().await).unwrap();
    write!(seen, "{:?}", request.finish().await).unwrap();
    write!(seen, "{:?} {:?}", world.sessions, world.sessions.list(&somebody("alice").id()).await).unwrap();
    drop(guard);
    let (log, stored) = (recorder.text(), world.store.handed.lock().unwrap().clone());
    assert!(log.contains("logged in") && stored.len() > 1000, "{log}");
    assert!(jar.all.iter().filter(|cookie| cookie.starts_with("__Host-remembered=")).count() >= 4, "{:?}", jar.all);
    for cookie in &jar.all {
        is_seen_in_none(cookie, &[("log", log.as_bytes()), ("Debug", seen.as_bytes()), ("store", &stored)]);
    }
}

#[tokio::test]
async fn sessions_in_cookies_show_nothing_of_themselves_in_the_log_or_in_debug_and_nothing_of_their_data_in_the_cookie()
{
    let recorder = LogRecorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions =
        Sessions::client_side(keys).with_clock(Arc::new(sekisho_testkit::FixedClock::at(START))).build().unwrap();
    let (mut jar, mut seen, mut ids) = (Jar::default(), String::new(), Vec::new());
    let secret = "an-access-token-that-nobody-sees";
    for turn in 0..4 {
        let request = jar.request(&sessions);
        let mut session = request.session::<BTreeMap<String, String>>(None).await.unwrap();
        match turn {
            0 => session.log_in(Login::new(&somebody("alice-of-the-tests"))),
            1 => session.rotate(),
            2 => session.update(|data| {
                data.insert("token".to_owned(), secret.to_owned());
            }),
            _ => session.log_out(),
        }
        let set = session.finish().await.unwrap();
        ids.extend(session.id().map(|id| id.as_str().to_owned()));
        write!(seen, "{request:?} {set:?} {:?}", request.principal()).unwrap();
        jar.take(&set);
    }
    // What is bent is refused, and told of.
    let bent = jar.all.last().unwrap().replace('A', "B");
    let (name, value) = bent.split_once('=').unwrap();
    jar.now.insert(name.to_owned(), value.to_owned());
    write!(seen, "{:?} {sessions:?}", jar.request(&sessions).load(None).await).unwrap();
    drop(guard);
    let log = recorder.text();
    assert!(jar.all.len() >= 3 && !ids.is_empty(), "{:?}", jar.all);
    for cookie in &jar.all {
        is_seen_in_none(cookie, &[("log", log.as_bytes()), ("Debug", seen.as_bytes())]);
        let value = cookie.split_once('=').unwrap().1;
        let inside: Vec<u8> = value.split(['.', '~', '=']).flat_map(base64).collect();
        for readable in [secret, "alice-of-the-tests"].into_iter().chain(ids.iter().map(String::as_str)) {
            let is_in = |text: &[u8]| text.windows(readable.len()).any(|window| window == readable.as_bytes());
            assert!(!is_in(value.as_bytes()) && !is_in(&inside), "{readable} can be read in {cookie}");
        }
    }
    assert!(!log.contains(secret) && !seen.contains(secret), "{log} {seen}");
}
