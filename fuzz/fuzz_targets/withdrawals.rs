//! Any bytes as a withdrawal, and as a feed's document of withdrawals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_revocation::{RevocationDocument, Withdrawal};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(withdrawal) = Withdrawal::from_json(bytes) {
        let line = withdrawal.to_json();
        assert!(line.len() <= Withdrawal::MAX_JSON_BYTES && !line.contains(['\n', '\r']));
        assert_eq!(Withdrawal::from_json(line.as_bytes()), Ok(withdrawal), "what is written is read back");
    }
    if let Ok(document) = RevocationDocument::parse(bytes.to_vec()) {
        assert!(!document.has_more() || document.cursor().is_some());
        let json = document.to_json();
        assert_eq!(RevocationDocument::parse(json.into_bytes()), Ok(document), "what is written is read back");
    }
});
