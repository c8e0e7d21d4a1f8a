//! Any bytes as each record that an issuer's store keeps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_issuer::{
    CodeRecord, DeviceRequest, Grant, MAX_RECORD_BYTES, RecordError, ReferenceRecord, RefreshFamily, ScopeSet,
    SsoSession, StoredRecord,
};

/// Reads bytes as one kind of record, and says whether they are one.
fn is_one<R: StoredRecord + PartialEq>(bytes: &[u8], has_fractions: bool) -> bool {
    match R::from_bytes(bytes) {
        Ok(record) => {
            assert!(bytes.len() <= MAX_RECORD_BYTES, "what is longer is not read");
            // Another way to write the same record may be longer than the one that was read.
            match record.to_bytes() {
                Ok(written) => {
                    let read = R::from_bytes(&written);
                    // A fraction among the claims of a reference may come back as its neighbour.
                    let is_near = has_fractions && read.is_ok();
                    assert!(is_near || read == Ok(record), "what is written is read back");
                }
                Err(error) => assert_eq!(error, RecordError::TooLarge, "what is read can be written"),
            }
            true
        }
        Err(error) => {
            assert!(error != RecordError::TooLarge || bytes.len() > MAX_RECORD_BYTES);
            false
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let kinds = [
        is_one::<Grant>(bytes, false),
        is_one::<CodeRecord>(bytes, false),
        is_one::<RefreshFamily>(bytes, false),
        is_one::<ReferenceRecord>(bytes, true),
        is_one::<SsoSession>(bytes, false),
        is_one::<DeviceRequest>(bytes, false),
        is_one::<ScopeSet>(bytes, false),
    ];
    assert!(kinds.iter().filter(|is_one| **is_one).count() <= 1, "no record passes for one of another kind");
});
