use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use miniz_oxide::deflate::compress_to_vec_zlib;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, Principal, RevocationCheck, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_revocation::{StatusListBuilder, StatusListCheck};
use sekisho_testkit::{FixedClock, Issuer, TokenBuilder};
use serde_json::{Value, json};

pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
pub(crate) const PREFIX: &str = "https://id.example/status/";
pub(crate) const ONE: &str = "https://id.example/status/1";

pub(crate) fn at(offset: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(offset))
}

/// Is an issuer and the server of its lists.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) issuer: Issuer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, (u16, Vec<u8>)>,
    requests: Vec<String>,
    is_away: bool,
    hangs: bool,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider")
    }
}

impl Provider {
    pub(crate) fn new() -> Self {
        Self { issuer: Issuer::new().with_clock(FixedClock::at(NOW)), state: Arc::default() }
    }

    /// Begins a list that is as it should be, of one bit for each token.
    pub(crate) fn list(&self, uri: &str, bytes: &[u8]) -> TokenBuilder {
        self.list_of(uri, 1, bytes)
    }

    pub(crate) fn list_of(&self, uri: &str, bits: u8, bytes: &[u8]) -> TokenBuilder {
        let lst = base64_simd::URL_SAFE_NO_PAD.encode_to_string(compress_to_vec_zlib(bytes, 9));
        self.issuer
            .token()
            .typ("statuslist+jwt")
            .subject(uri)
            .without_claim("client_id")
            .without_claim("jti")
            .claim("ttl", 600)
            .claim("status_list", json!({"bits": bits, "lst": lst}))
            .expires_at(at(86_400))
    }

    pub(crate) fn publish(&self, uri: &str, list: impl Into<Vec<u8>>) {
        self.answer(uri, 200, list);
    }

    pub(crate) fn answer(&self, uri: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().answers.insert(uri.to_owned(), (status, body.into()));
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.state.lock().unwrap().is_away = is_away;
    }

    pub(crate) fn set_hanging(&self, hangs: bool) {
        self.state.lock().unwrap().hangs = hangs;
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn check(&self) -> StatusListBuilder {
        let keys = Arc::new(self.issuer.static_keys());
        StatusListCheck::builder(self.issuer.url(), keys, Arc::new(self.clone()))
    }
}

#[async_trait]
impl HttpClient for Provider {
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let headers = [("accept", "application/statuslist+jwt"), ("cache-control", "no-cache")];
        assert_eq!(request.headers, headers.map(|(name, value)| (name, value.to_owned())));
        let (hangs, is_away) = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.url.clone());
            (state.hangs, state.is_away)
        };
        if hangs {
            tokio::time::sleep(limits.total_timeout).await;
        }
        if hangs || is_away {
            return Err(HttpError::Timeout);
        }
        let (status, body) = self.state.lock().unwrap().answers.get(&request.url).cloned().unwrap_or((404, Vec::new()));
        if body.len() > limits.max_body_bytes {
            return Err(HttpError::TooLarge);
        }
        Ok(HttpResponse { status, headers: vec![("location".to_owned(), ONE.to_owned())], body })
    }
}

/// Makes a principal with this claim `status`.
pub(crate) fn with_status(status: Value) -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_claim("status", status).build().unwrap()
}

pub(crate) fn entry(uri: &str, index: u64) -> Principal {
    with_status(json!({"status_list": {"idx": index, "uri": uri}}))
}

pub(crate) fn ask(check: &StatusListCheck, principal: &Principal, now: UnixSeconds) -> Result<bool, Failure> {
    check.is_revoked(principal, now)
}
