use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use josekit::jwk::JwkSet;
use josekit::jws::{JwsVerifier, RS256};
use josekit::jwt::{JwtPayloadValidator, decode_with_verifier_selector};

use super::{Error, orders};

// begin
struct Guard {
    verifiers: Vec<(String, Box<dyn JwsVerifier>)>,
    validator: JwtPayloadValidator,
}

async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let token =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let (payload, _) = decode_with_verifier_selector(token, |header| {
        let known = guard.verifiers.iter().find(|(kid, _)| Some(kid.as_str()) == header.key_id());
        Ok(known.map(|(_, verifier)| &**verifier))
    })
    .map_err(|_| StatusCode::UNAUTHORIZED)?;
    guard.validator.validate(&payload).map_err(|_| StatusCode::UNAUTHORIZED)?;
    request.extensions_mut().insert(payload);
    Ok(next.run(request).await)
}

async fn app() -> Result<Router, Error> {
    let keys = JwkSet::from_bytes(reqwest::get("https://id.example/jwks").await?.bytes().await?)?;
    let mut verifiers = Vec::new();
    for jwk in keys.keys() {
        if let (Some(kid), Ok(verifier)) = (jwk.key_id(), RS256.verifier_from_jwk(jwk)) {
            verifiers.push((kid.to_owned(), Box::new(verifier) as Box<dyn JwsVerifier>));
        }
    }
    let mut validator = JwtPayloadValidator::new();
    validator.set_issuer("https://id.example");
    validator.set_audience("orders-api");
    let state = Arc::new(Guard { verifiers, validator });
    let app = Router::new().route("/orders", get(orders)).layer(from_fn_with_state(state, guard));
    Ok(app)
}
// end
