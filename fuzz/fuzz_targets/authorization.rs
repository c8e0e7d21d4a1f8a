//! Any bytes as values of `Authorization`, split at zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let values = || bytes.split(|byte| *byte == 0);
    let Ok(Some(credential)) = sekisho_http::authorization(values()) else { return };
    assert_eq!(values().count(), 1, "two headers are two credentials");
    let token = credential.expose();
    assert!(!token.is_empty() && bytes.ends_with(token.as_bytes()));
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)));
    assert!(bytes.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer")));
});
