//! Any bytes as values of `Cookie`, split at zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let values = || bytes.split(|byte| *byte == 0);
    let Ok(Some(credential)) = sekisho_http::named_cookie(values(), "__Host-token") else { return };
    let value = credential.expose();
    assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\";,\\".contains(&byte)));
    let is_named = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        trimmed(name) == b"__Host-token"
    };
    let pairs = bytes.split(|byte| matches!(byte, 0 | b';')).filter(|pair| is_named(pair) && pair.contains(&b'='));
    assert_eq!(pairs.count(), 1, "the name stands there, once");
});

fn trimmed(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !b" \t".contains(byte)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}
