//! An axum service behind a checkpoint, on a socket of this machine.

use axum::routing::{get, post};
use axum::{Json, Router};
use sekisho_axum::{CheckpointExt as _, Principal};
use sekisho_core::{IntoAuthenticate, all_of, any_of, role, scope};
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
        Self::serve(listener().await, Checkpoint::builder().accept(verifier).build().expect("a checkpoint")).await
    }

    /// Starts one that knows its own URL, as proofs of possession need it.
    pub(crate) async fn start_at_its_url(authenticator: impl IntoAuthenticate) -> Self {
        let listener = listener().await;
        let checkpoint = Checkpoint::builder().accept(authenticator).with_public_url(&url(&listener));
        Self::serve(listener, checkpoint.build().expect("a checkpoint")).await
    }

    async fn serve(listener: TcpListener, checkpoint: Checkpoint) -> Self {
        let rule = |rule| checkpoint.require(rule);
        let app = Router::new()
            .route("/me", get(me))
            .route("/orders", post(me).layer(rule(scope("orders:write"))))
            .route("/orders", get(me).layer(rule(scope("orders:read"))))
            .route("/clerks", get(me).layer(rule(role("clerk"))))
            .route("/approve", get(me).layer(rule(all_of([role("approve"), scope("orders:write")]))))
            .route("/export", get(me).layer(rule(any_of([role("export"), role("approve")]))))
            .layer(checkpoint.layer());
        let url = url(&listener);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, http: setup::http(), task }
    }

    /// Returns the address of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(reqwest::Method::GET, path, Some(token)).await
    }

    pub(crate) async fn send(&self, method: reqwest::Method, path: &str, token: Option<&str>) -> Answer {
        let value = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = value.iter().map(|value| ("authorization", &**value)).collect();
        self.send_with(method, path, &headers).await
    }

    pub(crate) async fn send_with(&self, method: reqwest::Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.request(method, self.at(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
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

async fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.expect("a port")
}

fn url(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().expect("an address"))
}

async fn me(caller: Principal) -> Json<Value> {
    Json(json!({ "subject": caller.subject(), "client": caller.client(), "scope": caller.scope() }))
}
