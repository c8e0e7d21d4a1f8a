//! One provider's answers, and how ours are read.

use std::time::Duration;

use sekisho_core::{FailureKind, Principal, Refusal, Reject, UnixSeconds};
use sekisho_opaque::{ClientCredentials, Introspection, IntrospectionBuilder, Opaque};
use serde_json::{Value, json};

use crate::server::{Reply, Server};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "orders";
pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
pub(crate) const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";

pub(crate) fn at(seconds: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(seconds))
}

pub(crate) fn claims() -> Value {
    json!({ "active": true, "iss": ISSUER, "sub": "u1", "aud": AUDIENCE, "client_id": "c", "exp": at(300).as_secs() })
}

pub(crate) fn active() -> Reply {
    Reply::json(claims().to_string())
}

/// Answers as [`active`] with one member changed.
pub(crate) fn active_with(name: &str, value: impl Into<Value>) -> Reply {
    let mut claims = claims();
    claims.as_object_mut().unwrap().insert(name.to_owned(), value.into());
    Reply::json(claims.to_string())
}

pub(crate) fn inactive() -> Reply {
    Reply::json(r#"{"active":false}"#)
}

pub(crate) fn credentials() -> ClientCredentials {
    ClientCredentials::basic("gateway", "hunter2")
}

pub(crate) fn introspect(server: &Server) -> IntrospectionBuilder {
    Opaque::introspect(server.url(), credentials()).issuer(ISSUER).audience(AUDIENCE)
}

pub(crate) fn cached(server: &Server) -> Introspection {
    introspect(server).cache_for(Duration::from_secs(30)).build().unwrap()
}

pub(crate) fn uncached(server: &Server) -> Introspection {
    introspect(server).with_negative_cache(Duration::ZERO).build().unwrap()
}

/// Reads an answer for short.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Yes(String),
    No(Reject),
    Failed(FailureKind),
}

pub(crate) fn said(result: Result<Principal, Refusal>) -> Said {
    match result {
        Ok(principal) => Said::Yes(principal.subject().to_owned()),
        Err(Refusal::Reject(reject)) => Said::No(reject),
        Err(Refusal::Failure(failure)) => Said::Failed(failure.kind()),
    }
}

pub(crate) fn yes() -> Said {
    Said::Yes("u1".to_owned())
}

pub(crate) async fn ask(introspection: &Introspection, token: &str, now: UnixSeconds) -> Said {
    said(introspection.introspect(token, now).await)
}

pub(crate) fn ask_now(introspection: &Introspection, token: &str, now: UnixSeconds) -> Option<Said> {
    introspection.introspect_now(token, now).map(said)
}
