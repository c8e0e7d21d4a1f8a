//! An authorization server's introspection endpoint on a loopback port: it knows some opaque tokens, and answers each with
//! claims, or with the JWT behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::claims::{ISSUER, claims};
use crate::keys::BenchKey;

pub const CLIENT: &str = "gateway";
pub const SECRET: &str = "gateway-secret";

/// Is the endpoint, on a thread of its own.
#[derive(Debug)]
pub struct Provider {
    /// The opaque tokens that it knows, 43 characters each.
    pub tokens: Vec<String>,
    /// The JWTs behind them, in the same order.
    pub jwts: Vec<String>,
    pub url: String,
    requests: Arc<AtomicU64>,
}

impl Provider {
    /// Starts it with `count` tokens, whose JWTs are signed by `key`.
    pub fn start(key: &BenchKey, count: usize) -> Self {
        let tokens: Vec<_> = (0..count).map(|number| format!("{number:043}")).collect();
        let all: Vec<_> = (0..count).map(|number| claims(ISSUER, number)).collect();
        let jwts: Vec<_> = all.iter().map(|claims| key.token(claims)).collect();
        let answers = tokens.iter().cloned().zip(all.iter().map(introspected).zip(jwts.clone()));
        let answers: Arc<HashMap<_, _>> = Arc::new(answers.collect());
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let answer = async move |headers: HeaderMap, body: String| -> Response {
            counted.fetch_add(1, Ordering::Relaxed);
            let token = body.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
            let Some((claims, jwt)) = answers.get(token) else { return StatusCode::BAD_REQUEST.into_response() };
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let (kind, text) = match accept.contains("application/jwt") {
                true => ("application/jwt", jwt),
                false => ("application/json", claims),
            };
            ([(header::CONTENT_TYPE, kind)], text.clone()).into_response()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = Router::new().route("/introspect", post(answer));
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
            });
        });
        Self { tokens, jwts, url, requests }
    }

    /// Returns how often it was asked.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Writes the answer about a token with these claims.
fn introspected(claims: &Value) -> String {
    let mut answer = json!({ "active": true, "client_id": claims["azp"], "token_type": "Bearer" });
    for (name, value) in claims.as_object().unwrap() {
        if name != "typ" {
            answer[name] = value.clone();
        }
    }
    answer.to_string()
}
