//! Any bytes as discovery document and as key set, from a server that answers both with them.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use sekisho_core::UnixSeconds;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{Algorithm, Backend, Discovery, IntoKeySource, KeyLookup, KeyQuery, SourceContext};

#[derive(Debug)]
struct Same {
    body: Vec<u8>,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl HttpClient for Same {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let scheme = request.url.get(..8).unwrap_or_default();
        assert!(scheme.eq_ignore_ascii_case("https://"), "{}", request.url);
        assert!(self.asked.fetch_add(1, Ordering::Relaxed) < 8, "one load asks a few times at most");
        Ok(HttpResponse { status: 200, headers: Vec::new(), body: self.body.clone() })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let client = Arc::new(Same { body: bytes.to_vec(), asked: AtomicUsize::new(0) });
    let context = SourceContext::new(Backend::default()).with_http_client(client);
    let source = Discovery::new("https://id.example/a").into_key_source(&context).expect("a good configuration");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let query = KeyQuery { kid: Some("k"), algorithm: Algorithm::Es256 };
    let now = UnixSeconds::from(std::time::SystemTime::now());
    let lookup = runtime.block_on(source.fetch(query, now));
    assert!(!matches!(lookup, KeyLookup::FetchNeeded));
});
