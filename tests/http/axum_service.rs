//! The suite's service on axum.

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use sekisho_axum::{CheckpointExt as _, Claims, Principal, RefusalResponse};
use sekisho_http::Checkpoint;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::contract::{self, Employee, named};

/// A running service; dropping it ends it.
pub(crate) struct AxumService {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl AxumService {
    /// Serves the suite's routes.
    pub(crate) async fn start(checkpoint: &Checkpoint) -> Self {
        Self::serve(routes(checkpoint)).await
    }

    /// Serves any routes.
    pub(crate) async fn serve(app: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, task }
    }
}

impl Drop for AxumService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn routes(checkpoint: &Checkpoint) -> Router {
    let require = |rule| checkpoint.require(rule);
    let guarded = Router::new()
        .route("/orders", get(me).options(|| async { StatusCode::NO_CONTENT }))
        .route("/orders", post(me).layer(require(contract::write())))
        .route("/both", get(me).layer(require(contract::both())))
        .route("/each", get(me).layer(require(contract::each())))
        .route("/any", get(me).layer(require(contract::any())))
        .route("/admin", get(me).layer(require(contract::admin())))
        .route("/in-handler", get(in_handler))
        .route("/step-up", get(me).layer(require(contract::step_up())))
        .route("/claims", get(claims))
        .route("/public/hello", get(|| async { "hello" }))
        .route("/public/caller", get(me))
        .layer(checkpoint.layer());
    let inner = Router::new()
        .route("/orders", get(me))
        .route("/public/hello", get(|| async { "hello" }))
        .route("/open", get(|| async { "hello" }))
        .layer(checkpoint.layer());
    Router::new()
        .merge(guarded)
        .nest("/nested", inner)
        .route("/optional", get(optional).layer(checkpoint.optional_layer()))
        .route("/unguarded", get(me))
        .route("/unguarded-rule", get(|| async { "passed" }).layer(require(contract::write())))
        .merge(checkpoint.metadata_route())
}

async fn me(caller: Principal) -> Json<Value> {
    Json(named(&caller))
}

async fn in_handler(caller: Principal) -> Result<Json<Value>, RefusalResponse> {
    caller.require(&contract::write())?;
    Ok(Json(named(&caller)))
}

async fn claims(Claims(employee): Claims<Employee>) -> Json<Employee> {
    Json(employee)
}

async fn optional(caller: Option<Principal>) -> Json<Value> {
    Json(caller.map_or(Value::Null, |caller| named(&caller)))
}
