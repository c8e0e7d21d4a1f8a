//! Any bytes as a place to go on to after a login, and as the cookies of a value that is kept in the browser.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sekisho_core::UnixSeconds;
use sekisho_http::HeadParts;
use sekisho_session::{ClientSideCookie, ReturnTo, SessionKey, SessionKeys};

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fuzz_target!(|bytes: &[u8]| {
    if let Some(place) = std::str::from_utf8(bytes).ok().and_then(ReturnTo::parse) {
        let text = place.as_str();
        assert_eq!(text.as_bytes(), bytes);
        assert!(text.starts_with('/') && !text.starts_with("//"));
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
    }
    let headers: [(&str, &[u8]); 1] = [("cookie", bytes)];
    let head = HeadParts { method: "GET", path: "/", headers: &headers };
    let found = cookie().read(&head, NOW);
    assert!(!matches!(found, Ok(Some(_))), "nobody has the key");
});

fn cookie() -> &'static ClientSideCookie {
    static COOKIE: OnceLock<ClientSideCookie> = OnceLock::new();
    COOKIE.get_or_init(|| {
        let keys = SessionKeys::new(SessionKey::generate().expect("the system gives randomness"));
        ClientSideCookie::builder(keys).with_name("d").build().expect("a good configuration")
    })
}
