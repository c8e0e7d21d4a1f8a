use std::error::Error;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use sekisho::axum::{ApiProxyExt as _, BffExt as _, CheckpointExt as _, Principal, SessionLayer};
use sekisho::gateway::Upstream;
use sekisho::oidc::{ApiProxy, ApiRoute, Bff, ClientCredentials, Provider, RelyingParty};
use sekisho::session::{LoginRedirect, SessionKeys, SessionRules, Sessions};
use sekisho::{Algorithm, Checkpoint, Jwt, Secret};
use serde_json::{Value, json};

/// Makes what logs people in for the service at `url`.
pub(crate) fn party(
    issuer: &str,
    secret: &Secret,
    url: &str,
    sessions: Sessions,
    keys: SessionKeys,
) -> Result<RelyingParty, Box<dyn Error>> {
    let provider = Provider::discover(issuer, ClientCredentials::basic("shop", secret.clone()))
        .redirect_uri(format!("{url}/bff/callback"))
        .with_scopes(["orders:read"])
        .with_algorithms([Algorithm::Es256])
        .build()?;
    let party = RelyingParty::builder(sessions, keys).with_provider("id", provider);
    Ok(party.with_post_logout_url(format!("{url}/bye")).build()?)
}

/// Makes a service: pages for whoever is logged in, and a backend for the scripts in them.
pub(crate) fn service(name: &'static str, party: RelyingParty, api: &str) -> Result<Router, Box<dyn Error>> {
    let sessions = party.sessions();
    let checkpoint =
        Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build()?;
    let rules = SessionRules::new(sessions.clone()).with_login_redirect(LoginRedirect::to("/bff/login")?);
    let bff = Bff::builder(party).build()?;
    let orders = Upstream::new("orders", api)?;
    let proxy = ApiProxy::builder(&bff).with_route(ApiRoute::new("/orders/*", ["GET"], &orders)).build()?;
    let page = move |caller: Principal| async move { Html(page(name, caller.subject())) };
    Ok(Router::new()
        .route("/", get(page))
        .route("/orders", get(page))
        .layer(checkpoint.layer())
        .layer(SessionLayer::new(rules))
        // Below here nobody needs to be logged in, and what is there looks after sessions itself.
        .route("/bye", get(async || Html("<p>Signed out. <a href=\"/\">Sign in again</a></p>")))
        .merge(bff.router())
        .merge(proxy.router()))
}

fn page(name: &str, subject: &str) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>{name}</title><h1>{name} of {subject}</h1>
<button onclick="ask('/bff/user')">Who am I?</button> <button onclick="ask('/bff/api/orders/7')">Order 7</button>
<form method="post" action="/bff/logout" style="display:inline"><button>Sign out</button></form>
<pre id="out"></pre>
<script>
async function ask(path) {{
  const answer = await fetch(path, {{ headers: {{ 'X-CSRF': '1' }} }});
  document.getElementById('out').textContent = answer.status + ' ' + await answer.text();
}}
</script>"#
    )
}

/// Makes the API, which knows no cookie: it takes access tokens, and tells what it sees.
pub(crate) fn orders(issuer: &str) -> Result<Router, Box<dyn Error>> {
    let checkpoint = Checkpoint::builder().accept(Jwt::issuer(issuer).audience("orders-api").build()?).build()?;
    let order = async |caller: Principal, headers: HeaderMap| -> Json<Value> {
        Json(json!({
            "order": 7,
            "of": caller.subject(),
            "by": caller.client(),
            "token": caller.token_id(),
            "sees_cookies": headers.contains_key(COOKIE),
        }))
    };
    Ok(Router::new().route("/orders/7", get(order)).layer(checkpoint.layer()))
}
