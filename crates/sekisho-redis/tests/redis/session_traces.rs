//! What the cookie holds is nowhere in Redis: in no key, in no value, in nothing that was asked, and in no log.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, SystemClock};
use sekisho_http::HeadParts;
use sekisho_redis::{Redis, RedisInvalidations, RedisSessionStore};
use sekisho_session::{Login, RequestSession, SessionKey, SessionKeys, Sessions, SetCookie};
use sekisho_testkit::LogRecorder;
use serde::{Deserialize, Serialize};

use crate::control::{Direct, wait_until};
use crate::monitor::Monitor;
use crate::outages::Cable;
use crate::setup::{alone, prefix, variable};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Cart {
    items: Vec<u32>,
}

fn somebody(scope: &str) -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_scope(scope).build().unwrap()
}

/// Is a browser: the cookie that it has, and all that it had.
#[derive(Default)]
struct Browser {
    cookies: Vec<String>,
}

impl Browser {
    fn request(&self, sessions: &Sessions) -> RequestSession {
        let value = self.cookies.last().cloned().unwrap_or_default();
        let headers: &[(&str, &[u8])] = &[("cookie", value.as_bytes())];
        sessions.begin(&HeadParts { method: "GET", path: "/", headers })
    }

    fn take(&mut self, set: Vec<SetCookie>) {
        self.cookies.extend(set.iter().filter_map(|cookie| cookie.expose().split(';').next().map(str::to_owned)));
    }
}

/// Is everything that a cookie could be recognized by: its text, the bytes behind it, and either as others write bytes.
fn traces(cookie: &str) -> Vec<Vec<u8>> {
    let (_, text) = cookie.split_once('=').unwrap();
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap();
    let secret = &bytes[4..];
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // As MONITOR writes what is no text.
    let escaped: String = secret.iter().take(12).flat_map(|byte| escape(*byte)).collect();
    let list = format!("{:?}", &secret[..8]);
    vec![
        text.into(),
        text[8..40].into(),
        secret.into(),
        hexadecimal.to_uppercase().into(),
        hexadecimal.into(),
        escaped.into(),
        list.trim_matches(['[', ']']).into(),
    ]
}

fn escape(byte: u8) -> Vec<char> {
    match byte {
        b'\\' | b'"' => vec!['\\', char::from(byte)],
        b'\n' => vec!['\\', 'n'],
        b'\r' => vec!['\\', 'r'],
        b'\t' => vec!['\\', 't'],
        7 => vec!['\\', 'a'],
        8 => vec!['\\', 'b'],
        b' '..=b'~' => vec![char::from(byte)],
        _ => format!("\\x{byte:02x}").chars().collect(),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

// One thread, so that its log is all.
#[tokio::test]
async fn what_the_cookie_holds_is_not_in_redis_nor_in_a_log() {
    let Some(url) = variable("SEKISHO_REDIS_URL", "traces of cookies") else { return };
    let _turn = alone().await;
    let recorder = LogRecorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let cable = Cable::to(&url).await;
    let (prefix, mut direct) = (prefix(), Direct::to(&url));
    let limit = Duration::from_secs(2);
    let redis = Redis::standalone(cable.url.as_str()).with_prefix(&prefix).with_command_timeout(limit);
    let redis = redis.with_connect_timeout(limit).build().unwrap();
    let monitor = Monitor::of(&url);
    let store = Arc::new(RedisSessionStore::new(redis.clone()));
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(store.clone(), keys).with_clock(Arc::new(SystemClock)).build().unwrap();
    let (mut browser, mut seen) = (Browser::default(), String::new());
    for turn in 0..6 {
        let mut session = browser.request(&sessions).session::<Cart>(None).await.unwrap();
        session.update(move |cart| cart.items.push(turn));
        match turn {
            1 => session.log_in(Login::new(&somebody("read")).with_device("Firefox")),
            3 => session.elevate(&somebody("admin")),
            4 => session.rotate(),
            _ => {}
        }
        let set = session.finish().await.unwrap();
        write!(seen, "{session:?} {set:?} {:?}", session.request()).unwrap();
        browser.take(set);
    }
    let listed = sessions.list(&somebody("read").id()).await.unwrap();
    assert_eq!(listed.len(), 1);
    write!(seen, "{listed:?} {sessions:?} {store:?} {:?}", RedisInvalidations::new(redis)).unwrap();

    let names: HashSet<String> = direct.keys(&prefix).into_iter().collect();
    assert!(names.len() >= 4, "{names:?}");
    let mut stored = Vec::new();
    for name in &names {
        stored.extend_from_slice(name.as_bytes());
        if name.contains(":session:") {
            let value: Vec<u8> = direct.must(&[b"GET", name.as_bytes()]);
            assert!(!contains(&value, b"alice") && !contains(&value, b"Firefox"), "records are sealed");
            stored.extend(value);
        } else {
            let entries: Vec<Vec<u8>> = direct.must(&[b"ZRANGE", name.as_bytes(), b"0", b"-1"]);
            stored.extend(entries.concat());
        }
    }
    // Redis away, a value that is none, and the end of it all.
    cable.is_cut.send_replace(true);
    let refused = browser.request(&sessions).session::<Cart>(None).await.unwrap_err();
    write!(seen, "{refused:?} {refused}").unwrap();
    cable.is_cut.send_replace(false);
    wait_until("it works again", Duration::from_secs(20), async || sessions.list(&somebody("read").id()).await.is_ok())
        .await;
    for name in names.iter().filter(|name| name.contains(":session:")) {
        let whole: Vec<u8> = direct.must(&[b"GETDEL", name.as_bytes()]);
        let () = direct.must(&[b"SET", name.as_bytes(), b"other"]);
        let refused = browser.request(&sessions).session::<Cart>(None).await;
        write!(seen, "{refused:?}").unwrap();
        let () = direct.must(&[b"SET", name.as_bytes(), &whole]);
    }
    assert!(sessions.end_all(&somebody("read").id()).await.unwrap() > 0);
    let asked = monitor.stop_at(&mut direct);
    drop(guard);
    let log = recorder.text();
    assert!(log.contains("logged in") && asked.contains("SETRANGE") | asked.contains("EVALSHA") && seen.len() > 500);
    let distinct: HashSet<&String> = browser.cookies.iter().collect();
    assert!(distinct.len() >= 4, "each turn of the id gave another cookie");
    for cookie in distinct {
        for trace in traces(cookie) {
            for (place, text) in [
                ("Redis", &stored[..]),
                ("MONITOR", asked.as_bytes()),
                ("log", log.as_bytes()),
                ("Debug", seen.as_bytes()),
            ] {
                assert!(!contains(text, &trace), "in {place}: {cookie}");
            }
        }
    }
}

#[test]
fn a_trace_would_be_found() {
    let secret: Vec<u8> = (0..36).map(|number| number * 7).collect();
    let cookie = format!("c={}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(&secret));
    let [text, .., escaped, _] = &traces(&cookie)[..] else { panic!("there are some") };
    assert!(contains(cookie.as_bytes(), text));
    assert_eq!(String::from_utf8_lossy(escaped), r"\x1c#*18?FMT[bi");
}
