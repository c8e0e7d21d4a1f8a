//! What goes to the log, to errors, to `Debug` and to the store: never what the cookie holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

#[expect(dead_code, reason = "the other tests need more of it")]
mod world;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_session::{Login, SessionStore as _};
use sekisho_testkit::LogRecorder;

use world::{Browser, Cart, ISSUER, START, World, somebody};

/// Is everything that a cookie could be recognized by: its text, the bytes behind it, and either as hexadecimal or list.
fn traces(cookie: &str) -> Vec<Vec<u8>> {
    let text = cookie.split('=').nth(1).unwrap();
    let bytes = base64(text);
    let secret = &bytes[4..];
    let hexadecimal: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let list = format!("{:?}", &secret[..8]);
    vec![
        text.into(),
        text[8..40].into(),
        secret.into(),
        hexadecimal.clone().into(),
        hexadecimal.to_uppercase().into(),
        list.trim_matches(['[', ']']).into(),
    ]
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
    let mut stored = Vec::new();
    let names = world.store.names.lock().unwrap().clone();
    for name in names {
        stored.extend_from_slice(name.as_bytes());
        if let Some(found) = world.store.inner.load(&name, START).await.unwrap() {
            stored.extend_from_slice(found.body.as_bytes());
        }
    }
    assert!(stored.len() > 500 && cookies.len() > 5);
    for cookie in &cookies {
        for trace in traces(cookie) {
            for (place, text) in [("log", log.as_bytes()), ("Debug", seen.as_bytes()), ("store", &stored)] {
                assert!(!text.windows(trace.len()).any(|window| window == trace), "in {place}: {cookie}");
            }
        }
    }
}
