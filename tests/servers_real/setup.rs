//! Where the servers are, and what is said when they are not.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use sekisho_core::{Clock as _, SystemClock, UnixSeconds};
use serde_json::Value;

/// Returns what `variable` holds, or says on one line that `test` is skipped.
pub(crate) fn variable(variable: &str, test: &str) -> Option<String> {
    if let Ok(value) = env::var(variable) {
        return Some(value);
    }
    let line = format!("skipped: {test}: no server; {variable} is not set (cargo xtask servers)\n");
    assert!(env::var("CI").as_deref() != Ok("true"), "{line}");
    // Written past the harness, which would swallow it for a test that passes.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    if let Some(list) = env::var_os("SEKISHO_SKIPPED") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).expect("SEKISHO_SKIPPED can be written");
        list.write_all(line.as_bytes()).expect("SEKISHO_SKIPPED can be written");
    }
    None
}

/// Returns a client that talks to this machine, whatever proxies the environment names.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("an HTTP client")
}

pub(crate) fn now() -> UnixSeconds {
    SystemClock.now()
}

/// Asks a decider whose server is silent, and which was built without a deadline, several times; `ask` tells whether anything
/// was permitted. The fastest says which deadline it has: others are late on a machine with much to do.
pub(crate) async fn keeps_the_default_deadline(ask: impl AsyncFn() -> bool) {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(!ask().await, "it was permitted");
        assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
        fastest = fastest.min(begun.elapsed());
    }
    assert!((150..350).contains(&fastest.as_millis()), "200 ms are {fastest:?}");
}

/// Reads part 0 (header) or 1 (claims) of a token, unverified.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).expect("three parts");
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Reads a member of a token's header, empty if it is not there.
pub(crate) fn header(token: &str, member: &str) -> String {
    part(token, 0).get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Changes one character in the middle of the part `index`.
pub(crate) fn altered(token: &str, index: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let part = parts.get_mut(index).expect("three parts");
    let middle = part.len() / 2;
    let other = if part.as_bytes().get(middle) == Some(&b'A') { "B" } else { "A" };
    part.replace_range(middle..=middle, other);
    parts.join(".")
}
