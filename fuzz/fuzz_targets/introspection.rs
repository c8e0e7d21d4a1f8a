//! Any bytes as an introspection answer, plain and for a phantom token: what is accepted is what another JSON reader sees.
#![no_main]

use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use sekisho_core::{Credential, Refusal};
use sekisho_fuzz::{AUDIENCE, FIXTURE, ISSUER, NOW};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_opaque::{ClientCredentials, Opaque, TokenSwap};
use serde_json::Value;

#[derive(Debug)]
struct Same(Mutex<HttpResponse>);

#[async_trait::async_trait]
impl HttpClient for Same {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        assert!(request.body.starts_with(b"token=opaque&token_type_hint=access_token"));
        Ok(self.0.lock().expect("no panic").clone())
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the type that the provider says it is.
    let (kind, body) = bytes.split_first().map_or((0, bytes), |(kind, body)| (*kind, body));
    let kind =
        ["application/json", "application/jwt", "application/token-introspection+jwt", ""][usize::from(kind % 4)];
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    let client = Arc::new(Same(Mutex::new(HttpResponse { status: 200, headers, body: body.to_vec() })));
    let credentials = || ClientCredentials::basic("gateway", "secret");
    let url = "https://id.example/introspect";
    let introspection = Opaque::introspect(url, credentials())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .with_http_client(Arc::clone(&client) as _)
        .build()
        .expect("a good configuration");
    let phantom = Opaque::phantom(url, credentials())
        .issuer(ISSUER)
        .verifier(FIXTURE.verifier.clone())
        .with_http_client(client)
        .build()
        .expect("a good configuration");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    match runtime.block_on(introspection.introspect("opaque", NOW)) {
        Ok(principal) => {
            let seen: Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(seen["active"], true);
            let ours = |value: &Value| value == AUDIENCE;
            assert!(ours(&seen["aud"]) || seen["aud"].as_array().is_some_and(|all| all.iter().any(ours)));
            assert!(seen.get("iss").is_none_or(|iss| iss == ISSUER));
            assert!(seen.get("exp").is_none_or(|exp| exp.as_f64().expect("a number") > NOW.as_secs() as f64 - 61.0));
            assert_eq!(seen["sub"], principal.subject());
            assert!(seen.get("cnf").is_none());
        }
        Err(Refusal::Reject(_)) => {
            let seen: Value = serde_json::from_slice(body).expect("a no is JSON too");
            assert!(seen["active"].is_boolean());
        }
        Err(Refusal::Failure(_)) => {}
    }
    if let Ok(inner) = runtime.block_on(phantom.to_jwt(Credential::bearer("opaque"), NOW)) {
        let Some(Ok(principal)) = FIXTURE.verifier.verify_now(inner.expose(), NOW) else { panic!("not verified") };
        assert_eq!(principal.subject(), inner.principal().subject());
    }
});
