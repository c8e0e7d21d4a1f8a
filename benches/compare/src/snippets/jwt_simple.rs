use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use jwt_simple::prelude::*;

use super::{Error, orders};

// begin
struct Guard {
    key: RS256PublicKey,
    options: VerificationOptions,
}

async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let token =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let claims = guard.key.verify_token::<NoCustomClaims>(token, Some(guard.options.clone()));
    request.extensions_mut().insert(Arc::new(claims.map_err(|_| StatusCode::UNAUTHORIZED)?));
    Ok(next.run(request).await)
}

fn app(public_key_pem: &str) -> Result<Router, Error> {
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from_strings(&["https://id.example"])),
        allowed_audiences: Some(HashSet::from_strings(&["orders-api"])),
        required_signature_type: Some("at+jwt".to_owned()),
        time_tolerance: Some(Duration::from_secs(60)),
        ..VerificationOptions::default()
    };
    let state = Arc::new(Guard { key: RS256PublicKey::from_pem(public_key_pem)?, options });
    let app = Router::new().route("/orders", get(orders)).layer(from_fn_with_state(state, guard));
    Ok(app)
}
// end
