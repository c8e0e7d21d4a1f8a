//! Any bytes as values of `Cookie`, split at zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let values = || bytes.split(|byte| *byte == 0);
    let Ok(Some(credential)) = sekisho_http::named_cookie(values(), "__Host-token") else { return };
    let value = credential.expose();
    assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\";,\\".contains(&byte)));
    let named = bytes.windows(13).filter(|window| *window == b"__Host-token=").count();
    assert!(named >= 1, "the name stands there");
});
