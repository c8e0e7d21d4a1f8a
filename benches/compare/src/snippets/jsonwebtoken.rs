use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::{Error, orders};

// begin
#[derive(Clone, Deserialize)]
struct Claims {
    sub: String,
}

struct Guard {
    keys: JwkSet,
    validation: Validation,
}

async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let token =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let kid = decode_header(token).map_err(|_| StatusCode::UNAUTHORIZED)?.kid.ok_or(StatusCode::UNAUTHORIZED)?;
    let jwk = guard.keys.find(&kid).ok_or(StatusCode::UNAUTHORIZED)?;
    let key = DecodingKey::from_jwk(jwk).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let data = decode::<Claims>(token, &key, &guard.validation).map_err(|_| StatusCode::UNAUTHORIZED)?;
    request.extensions_mut().insert(data.claims);
    Ok(next.run(request).await)
}

async fn app() -> Result<Router, Error> {
    let keys: JwkSet = reqwest::get("https://id.example/jwks").await?.json().await?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&["https://id.example"]);
    validation.set_audience(&["orders-api"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let state = Arc::new(Guard { keys, validation });
    let app = Router::new().route("/orders", get(orders)).layer(from_fn_with_state(state, guard));
    Ok(app)
}
// end
