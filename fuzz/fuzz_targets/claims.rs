//! Any bytes as the claims of a token whose signature holds: what is accepted is what another JSON reader sees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_fuzz::{AUDIENCE, FIXTURE, ISSUER, NOW};
use serde_json::Value;

fuzz_target!(|claims: &[u8]| {
    let token = FIXTURE.sign(br#"{"alg":"HS256"}"#, claims);
    let Some(Ok(principal)) = FIXTURE.verifier.verify_now(&token, NOW) else { return };
    let seen: Value = serde_json::from_slice(claims).expect("JSON");
    assert_eq!(seen["iss"], ISSUER);
    let ours = |value: &Value| value == AUDIENCE;
    assert!(ours(&seen["aud"]) || seen["aud"].as_array().is_some_and(|all| all.iter().any(ours)));
    assert!(seen["exp"].as_f64().expect("a number") > NOW.as_secs() as f64 - 61.0);
    assert_eq!(seen["sub"], principal.subject());
    assert!(!principal.subject().is_empty());
    assert!(seen.get("cnf").is_none());
    let typed: Value = principal.claims().deserialize().expect("any object is a value");
    assert_eq!(typed, seen);
});
