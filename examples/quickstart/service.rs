use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use sekisho::axum::{CheckpointExt, Principal};
use sekisho::{Checkpoint, Clock, SystemClock, Verifier, scope};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Is the guarded service, running.
pub(crate) struct Service {
    url: String,
    pub(crate) verifier: Verifier,
    explains: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    /// Starts it on a port of the loopback.
    pub(crate) async fn start(verifier: Verifier, port: u16) -> Result<Self, Box<dyn Error>> {
        let checkpoint = Checkpoint::builder().accept(verifier.clone()).with_public_routes(["/health"]).build()?;
        let explains = Arc::new(AtomicBool::new(false));
        let app = Router::new()
            .route("/orders", post(create).layer(checkpoint.require(scope("orders:write"))))
            .route("/orders", get(list))
            .route("/health", get(|| async { "well" }))
            .layer(checkpoint.layer())
            .layer(from_fn_with_state((verifier.clone(), Arc::clone(&explains)), explain_refusals));
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                println!("the service ended: {error}");
            }
        });
        Ok(Self { url, verifier, explains, task })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Prints from now on why a request was refused.
    pub(crate) fn explain_refusals(&self) {
        self.explains.store(true, Ordering::Relaxed);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn list(caller: Principal) -> Json<Value> {
    Json(json!({ "orders": [1, 2, 3], "for": caller.subject() }))
}

async fn create(caller: Principal) -> Json<Value> {
    Json(json!({ "created": 4, "by": caller.subject() }))
}

/// Prints, for the developer at the terminal, why a request was refused. The caller learns no more than the RFC's code.
async fn explain_refusals(
    State((verifier, explains)): State<(Verifier, Arc<AtomicBool>)>,
    request: Request,
    next: Next,
) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim().to_owned());
    let response = next.run(request).await;
    if explains.load(Ordering::Relaxed) && !response.status().is_success() {
        let why = match token {
            Some(token) => verifier.explain(&token, SystemClock.now()).await.to_string(),
            None => "no bearer token came".to_owned(),
        };
        println!("{what} -> {}\n{why}\n", response.status());
    }
    response
}
