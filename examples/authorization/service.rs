use std::error::Error;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use sekisho::axum::{CheckpointExt as _, Principal, RefusalResponse};
use sekisho::{Authorize, Checkpoint, Enforcer, Resource};
use sekisho_testkit::Issuer;

use crate::patterns;
use crate::table::order;

/// Serves the shop, guarded by `authorizer`; returns the port.
pub(crate) async fn serve(issuer: &Issuer, authorizer: Arc<dyn Authorize>, port: u16) -> Result<u16, Box<dyn Error>> {
    let checkpoint = Checkpoint::builder().accept(patterns::verifier(issuer)?).build()?;
    let app = Router::new()
        .route("/orders/{id}", get(read))
        .route("/orders/{id}/refund", post(refund))
        .with_state(Enforcer::new(authorizer))
        .layer(checkpoint.layer());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

async fn read(
    caller: Principal,
    enforcer: State<Enforcer>,
    Path(id): Path<String>,
) -> Result<Response, RefusalResponse> {
    act(&caller, &enforcer, "read", &id).await
}

async fn refund(
    caller: Principal,
    enforcer: State<Enforcer>,
    Path(id): Path<String>,
) -> Result<Response, RefusalResponse> {
    act(&caller, &enforcer, "refund", &id).await
}

async fn act(caller: &Principal, enforcer: &Enforcer, action: &str, id: &str) -> Result<Response, RefusalResponse> {
    let Some(order) = order(id) else { return Ok(axum::http::StatusCode::NOT_FOUND.into_response()) };
    let resource = Resource::new("order", id).with_attributes(&order);
    let permit = caller.enforce(enforcer, action, resource).await?;
    let source = permit.decision().source().as_str();
    Ok(Json(serde_json::json!({ "order": id, "done": action, "decided_by": source })).into_response())
}
