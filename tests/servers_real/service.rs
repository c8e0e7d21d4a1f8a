//! An axum service behind a checkpoint, on a socket of this machine.

use axum::routing::{get, post};
use axum::{Json, Router};
use sekisho_axum::{CheckpointExt as _, Principal};
use sekisho_core::{all_of, any_of, role, scope};
use sekisho_http::Checkpoint;
use sekisho_jwt::Verifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::setup;

/// A running service; dropping it ends it.
pub(crate) struct Service {
    url: String,
    http: reqwest::Client,
    task: tokio::task::JoinHandle<()>,
}

/// What the service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `WWW-Authenticate`, empty if there is none.
    pub(crate) challenge: String,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u64>,
    /// Null when it is not JSON.
    pub(crate) body: Value,
}

impl Service {
    pub(crate) async fn start(verifier: Verifier) -> Self {
        let checkpoint = Checkpoint::builder().accept(verifier).build().expect("a checkpoint");
        let rule = |rule| checkpoint.require(rule);
        let app = Router::new()
            .route("/me", get(me))
            .route("/orders", post(me).layer(rule(scope("orders:write"))))
            .route("/orders", get(me).layer(rule(scope("orders:read"))))
            .route("/clerks", get(me).layer(rule(role("clerk"))))
            .route("/approve", get(me).layer(rule(all_of([role("approve"), scope("orders:write")]))))
            .route("/export", get(me).layer(rule(any_of([role("export"), role("approve")]))))
            .layer(checkpoint.layer());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, http: setup::http(), task }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(reqwest::Method::GET, path, Some(token)).await
    }

    pub(crate) async fn send(&self, method: reqwest::Method, path: &str, token: Option<&str>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("the service answers");
        let header =
            |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("visible ASCII").to_owned());
        let challenge = header("www-authenticate").unwrap_or_default();
        let retry_after = header("retry-after").map(|value| value.parse().expect("seconds"));
        let status = answer.status().as_u16();
        let body = serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default();
        Answer { status, challenge, retry_after, body }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn me(caller: Principal) -> Json<Value> {
    Json(json!({ "subject": caller.subject(), "client": caller.client(), "scope": caller.scope() }))
}
