//! Any bytes as the header of a token whose signature holds: what is accepted is what another JSON reader sees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_fuzz::{AUDIENCE, FIXTURE, ISSUER, NOW};
use serde_json::Value;

fuzz_target!(|header: &[u8]| {
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"u","exp":{}}}"#, NOW.as_secs() + 60);
    let token = FIXTURE.sign(header, claims.as_bytes());
    let Some(Ok(_)) = FIXTURE.verifier.verify_now(&token, NOW) else { return };
    let seen: Value = serde_json::from_slice(header).expect("JSON");
    assert_eq!(seen["alg"], "HS256");
    for absent in ["crit", "b64", "zip"] {
        assert!(seen.get(absent).is_none());
    }
    assert!(seen.get("kid").is_none_or(Value::is_string));
    let kind = seen.get("typ").map(|kind| kind.as_str().expect("text").to_ascii_lowercase());
    assert!(matches!(kind.as_deref(), None | Some("jwt" | "at+jwt" | "application/jwt" | "application/at+jwt")));
});
