//! Any bytes as the query of a browser's return, and as a login that was written down.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sekisho_core::UnixSeconds;
use sekisho_fuzz::{ISSUER, NOW};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwt::Backend;
use sekisho_jwt::jwks::StaticKeys;
use sekisho_oidc::{
    Callback, ClientCredentials, Endpoints, LoginError, LoginRequest, LoginStart, PendingLogin, Provider,
};

/// Is a provider that refuses every code.
#[derive(Debug)]
struct Refuses;

#[async_trait::async_trait]
impl HttpClient for Refuses {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        assert_eq!(request.url, "https://id.example/token", "nothing of a return chooses who is asked");
        let body = br#"{"error":"invalid_grant"}"#.to_vec();
        Ok(HttpResponse { status: 400, headers: Vec::new(), body })
    }
}

struct Fixture {
    runtime: tokio::runtime::Runtime,
    provider: Provider,
    start: LoginStart,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let at = |path: &str| format!("{ISSUER}/{path}");
    let provider = Provider::with_backend(Backend::default())
        .discover(ISSUER, ClientCredentials::basic("shop", "secret"))
        .redirect_uri("https://shop.example/callback")
        .with_endpoints(Endpoints::new(at("authorize"), at("token"), at("jwks")))
        .with_keys(StaticKeys::new([]))
        .with_http_client(Arc::new(Refuses))
        .build()
        .expect("a good configuration");
    let start = runtime.block_on(provider.start(&LoginRequest::new(), NOW)).expect("started");
    Fixture { runtime, provider, start }
});

fuzz_target!(|bytes: &[u8]| {
    let Fixture { runtime, provider, start } = &*FIXTURE;
    if let Some(read) = PendingLogin::from_bytes(bytes) {
        assert_eq!(&*read.to_bytes(), bytes);
        assert!(!provider.began(&read), "the digest of a provider is not guessed");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    finish(runtime, provider, start, text, NOW);
    // With the right state, so that the rest of it is looked at.
    finish(runtime, provider, start, &format!("state={}&{text}", start.pending.state()), NOW);
});

fn finish(runtime: &tokio::runtime::Runtime, provider: &Provider, start: &LoginStart, query: &str, now: UnixSeconds) {
    let callback = Callback::from_query(query);
    let error = runtime.block_on(provider.finish(start.pending.clone(), &callback, now)).expect_err("no login");
    if callback.state().is_none_or(|state| state != start.pending.state()) {
        assert!(matches!(error, LoginError::Foreign), "{error:?}");
    }
    // What is told of it is ours.
    assert!(!matches!(error, LoginError::IdToken(_)), "{error:?}");
}
