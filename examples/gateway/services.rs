use std::error::Error;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use sekisho::axum::{CheckpointExt, Principal};
use sekisho::{Checkpoint, Jwt};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cut;

/// Starts a service that believes the gateway, because nobody else reaches it.
pub(crate) async fn orders() -> Result<String, Box<dyn Error>> {
    let list = |headers: HeaderMap| async move {
        let caller = headers.get("x-auth-subject").and_then(|value| value.to_str().ok()).unwrap_or("nobody");
        println!("   service    hears from the gateway that `{caller}` calls; {}", token_of(&headers));
        Json(json!({ "orders": [1, 2, 3], "for": caller }))
    };
    start(Router::new().route("/orders", get(list))).await
}

/// Starts a service that believes nobody: it verifies the JWT that the gateway got for the client's token.
pub(crate) async fn stock(issuer: &str) -> Result<String, Box<dyn Error>> {
    let checkpoint = Checkpoint::builder().accept(Jwt::issuer(issuer).audience("stock-api").build()?).build()?;
    let count = |caller: Principal| async move {
        println!("   service    verified it: {} may {}", caller.id(), caller.scope());
        Json::<Value>(json!({ "stock": 42, "for": caller.subject() }))
    };
    let show = |request: Request, next: Next| async move {
        println!("   inside     {}", token_of(request.headers()));
        let response: Response = next.run(request).await;
        response
    };
    start(Router::new().route("/stock", get(count)).layer(checkpoint.layer()).layer(from_fn(show))).await
}

fn token_of(headers: &HeaderMap) -> String {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if token.split('.').count() == 3 => format!("a JWT, {}", cut(token)),
        Some(token) => format!("an opaque token, {}", cut(token)),
        None => "no token came along".to_owned(),
    }
}

async fn start(app: Router) -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
