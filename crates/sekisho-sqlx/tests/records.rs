//! Records, made as a store reads them.

use sekisho_core::UnixSeconds;
use sekisho_issuer::{
    CodeRecord, DeviceRequest, Grant, HandleHash, ReferenceRecord, RefreshFamily, SsoSession, StoredRecord,
};
use serde_json::{Value, json};

/// Is a hash that no other number has.
pub(crate) fn hash(number: u16) -> HandleHash {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    HandleHash::from_bytes(bytes)
}

fn id(number: u16) -> String {
    format!("grant-{number:0>16}")
}

fn made<R: StoredRecord>(kind: &str, record: Value) -> R {
    let text = json!({ "v": 1, "kind": kind, "record": record }).to_string();
    R::from_bytes(text.as_bytes()).expect("a record")
}

pub(crate) fn grant(number: u16, subject: &str, until: UnixSeconds) -> Grant {
    made(
        "grant",
        json!({
            "id": id(number), "client_id": "shop", "subject": subject, "sid": format!("session of {subject}"),
            "scope": "openid", "audience": ["orders"], "created_at": 0, "expires_at": until.as_secs(),
            "authentication": { "time": 0, "context": null, "methods": ["pwd"] },
        }),
    )
}

pub(crate) fn code(number: u16, until: UnixSeconds) -> CodeRecord {
    made(
        "code",
        json!({
            "code": hash(number), "grant": id(number), "redirect_uri": "https://client.example/cb", "code_challenge": "c",
            "nonce": null, "expires_at": until.as_secs(), "remembered_until": until.as_secs(),
        }),
    )
}

pub(crate) fn family(number: u16, until: UnixSeconds) -> RefreshFamily {
    made(
        "refresh",
        json!({
            "family": hash(number), "current": hash(number), "grant": id(number), "idle_until": until.as_secs(),
            "expires_at": until.as_secs(),
        }),
    )
}

pub(crate) fn reference(number: u16, with_grant: bool, until: UnixSeconds) -> ReferenceRecord {
    made(
        "reference",
        json!({
            "token": hash(number), "grant": with_grant.then(|| id(number)), "client_id": "shop", "claims": { "sub": "u" },
            "expires_at": until.as_secs(),
        }),
    )
}

pub(crate) fn session(number: u16, subject: &str, until: UnixSeconds) -> SsoSession {
    made(
        "session",
        json!({
            "session": hash(number), "sid": "sid", "subject": subject, "idle_until": until.as_secs(),
            "expires_at": until.as_secs(), "authentication": { "time": 0, "context": null, "methods": [] },
        }),
    )
}

pub(crate) fn device(number: u16, until: UnixSeconds) -> DeviceRequest {
    made(
        "device",
        json!({
            "device": hash(number), "user_code": hash(number), "client_id": "tv", "scope": "openid", "audience": [],
            "interval": { "secs": 5, "nanos": 0 }, "expires_at": until.as_secs(),
        }),
    )
}
