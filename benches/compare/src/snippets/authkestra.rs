use std::sync::Arc;

use authkestra_resource::Guard;
use authkestra_resource::jwt::{JwtStrategy, ValidationConfig};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::orders;

// begin
#[derive(Clone, Deserialize)]
struct Claims {
    sub: String,
}

async fn guard(State(guard): State<Arc<Guard<Claims>>>, request: Request, next: Next) -> Result<Response, StatusCode> {
    let (mut parts, body) = request.into_parts();
    let claims = guard.authenticate(&parts).await.map_err(|_| StatusCode::UNAUTHORIZED)?;
    parts.extensions.insert(claims.ok_or(StatusCode::UNAUTHORIZED)?);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

fn app() -> Router {
    let config = ValidationConfig::builder()
        .issuer("https://id.example")
        .audience("orders-api")
        .jwks_url("https://id.example/jwks")
        .build();
    let state = Arc::new(Guard::builder().strategy(JwtStrategy::new(config)).build());
    Router::new().route("/orders", get(orders)).layer(from_fn_with_state(state, guard))
}
// end
