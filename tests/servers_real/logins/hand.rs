//! What a script in Node.js has the test do while it runs.

use axum::extract::Path;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Listens for orders; dropping it ends it.
pub(crate) struct Hand {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Hand {
    /// `act` gets the name of an order and what came with it. Where it panics, the script fails and so the test.
    pub(crate) async fn start<F, A>(act: F) -> Self
    where
        F: Fn(String, Value) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Value> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let order = move |Path(name): Path<String>, Json(with): Json<Value>| {
            let done = act(name, with);
            async move { Json(done.await) }
        };
        let app = Router::new().route("/{name}", post(order));
        Self { url, task: tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") }) }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.task.abort();
    }
}
