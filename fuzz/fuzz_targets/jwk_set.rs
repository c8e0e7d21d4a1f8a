//! Any bytes as a key set: bounded, no secret keys, and each reason is one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_jwks::{Backend, KeySet};

fuzz_target!(|bytes: &[u8]| {
    let Ok(set) = KeySet::parse(Backend::default(), bytes) else { return };
    assert!(set.keys().len() <= 100);
    for key in set.keys() {
        assert!(key.thumbprint().is_some(), "a shared secret out of a published set");
        for algorithm in sekisho_jwks::Algorithm::ALL {
            assert!(!key.verify(algorithm, b"message", &[0; 64]));
            assert!(!key.verify(algorithm, b"message", b""));
        }
    }
    for skipped in set.skipped() {
        assert_eq!(skipped.to_string().lines().count(), 1);
    }
});
