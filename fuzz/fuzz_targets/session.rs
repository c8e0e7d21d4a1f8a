//! Any bytes as a place to go on to after a login, and as the cookies of a value or a session that is kept in the browser.
#![no_main]

use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Waker};

use libfuzzer_sys::fuzz_target;
use sekisho_core::UnixSeconds;
use sekisho_http::HeadParts;
use sekisho_session::{ClientSideCookie, ReturnTo, SessionCookie, SessionKey, SessionKeys, Sessions};

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
    let request = sessions().begin(&head);
    let loaded = pin!(request.load(None)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(loaded.is_ready(), "there is no store to wait for");
    assert!(request.id().is_none(), "nobody has the key");
});

fn sessions() -> &'static Sessions {
    static SESSIONS: OnceLock<Sessions> = OnceLock::new();
    SESSIONS.get_or_init(|| {
        let keys = SessionKeys::new(SessionKey::generate().expect("the system gives randomness"));
        let cookie = SessionCookie::builder().with_name("d").build().expect("a good configuration");
        Sessions::client_side(keys).with_cookie(cookie).build().expect("a good configuration")
    })
}

fn cookie() -> &'static ClientSideCookie {
    static COOKIE: OnceLock<ClientSideCookie> = OnceLock::new();
    COOKIE.get_or_init(|| {
        let keys = SessionKeys::new(SessionKey::generate().expect("the system gives randomness"));
        ClientSideCookie::builder(keys).with_name("d").build().expect("a good configuration")
    })
}
