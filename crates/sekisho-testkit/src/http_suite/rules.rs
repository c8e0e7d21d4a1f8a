//! What a principal must bring beyond being one.

use serde_json::json;

use super::client::Request;
use super::{Expected, Trial};

pub(super) async fn check(trial: &mut Trial<'_>) {
    scopes(trial).await;
    roles(trial).await;
    step_up(trial).await;
    claims(trial).await;
}

async fn scopes(trial: &mut Trial<'_>) {
    let caller = trial.caller("u1");
    let write = Expected::insufficient_scope("orders:write");
    let post = |token: &str| Request::new("POST", "/orders").bearer(token);
    for scope in
        ["", "orders:read", "orders:writer", "xorders:write", "ORDERS:WRITE", "orders orders:", "orders:write\u{a0}x"]
    {
        let token = trial.token().scope(scope).sign();
        trial.expect(&format!("scope {scope:?} is not orders:write"), post(&token), &write).await;
        let request = Request::get("/in-handler").bearer(&token);
        trial.expect(&format!("scope {scope:?} is not orders:write, in the handler"), request, &write).await;
    }
    trial.expect("no scope claim is not orders:write", post(&trial.good()), &write).await;
    for scope in ["orders:write", "a orders:write b", "orders:read  orders:write"] {
        let token = trial.token().scope(scope).sign();
        trial.expect(&format!("scope {scope:?} holds orders:write"), post(&token), &caller).await;
        let request = Request::get("/in-handler").bearer(&token);
        trial.expect(&format!("scope {scope:?} holds orders:write, in the handler"), request, &caller).await;
    }
    let listed = trial.token().claim("scp", vec!["orders:read", "orders:write"]).sign();
    trial.expect("scp may be an array", post(&listed), &caller).await;
    let none = Request::new("POST", "/orders");
    trial.expect("without a credential it is 401, not 403", none, &Expected::asked()).await;
    trial.expect("with a bad one it is 401, not 403", post("a.b.c"), &Expected::invalid_token()).await;
    let both = Expected::insufficient_scope("orders:read orders:write");
    for scope in ["orders:write", "orders:read", "x"] {
        let request = Request::get("/both").bearer(&trial.token().scope(scope).sign());
        trial.expect(&format!("all the scope that is needed is named, having {scope}"), request, &both).await;
        let request = Request::get("/each").bearer(&trial.token().scope(scope).sign());
        trial.expect(&format!("each scope that is needed is named, having {scope}"), request, &both).await;
    }
    let request = Request::get("/both").bearer(&trial.token().scope("orders:write orders:read").sign());
    trial.expect("both scopes pass, in any order", request, &caller).await;
}

async fn roles(trial: &mut Trial<'_>) {
    let caller = trial.caller("u1");
    let admin = trial.token().claim("roles", vec!["user", "admin"]).sign();
    let user = trial.token().claim("roles", vec!["user", "administrator"]).scope("admin").sign();
    let one = trial.token().claim("realm_access", json!({ "roles": ["admin"] })).sign();
    let get = |token: &str| Request::get("/admin").bearer(token);
    trial.expect("the role passes", get(&admin), &caller).await;
    trial
        .expect("another role is 403, and nobody is told which one is lacking", get(&user), &Expected::forbidden())
        .await;
    trial.expect("a role elsewhere in the claims does not count", get(&one), &Expected::forbidden()).await;
    trial.expect("no credential is 401", Request::get("/admin"), &Expected::asked()).await;
    let any = |token: &str| Request::get("/any").bearer(token);
    let writer = trial.token().scope("orders:write").sign();
    trial.expect("any of two: the role", any(&admin), &caller).await;
    trial.expect("any of two: the scope", any(&writer), &caller).await;
    let lacking = Expected::insufficient_scope("orders:write");
    trial.expect("none of two: the first is asked for", any(&trial.good()), &lacking).await;
}

/// [RFC 9470 §3](https://www.rfc-editor.org/rfc/rfc9470#section-3).
async fn step_up(trial: &mut Trial<'_>) {
    let now = trial.suite.issuer.now().as_secs();
    let caller = trial.caller("u1");
    let get = |token: String| Request::get("/step-up").bearer(&token);
    // All that is asked for, whatever is lacking: the next login must not lose what this one has.
    let again = Expected::step_up("acr_values=\"gold silver\", max_age=\"300\"");
    let fresh = || trial.token().claim("auth_time", now.saturating_sub(10));
    let cases = [
        ("neither acr nor auth_time", trial.good(), again.clone()),
        ("too weak", fresh().claim("acr", "bronze").sign(), again.clone()),
        ("acr is not a string", fresh().claim("acr", json!(["gold"])).sign(), again.clone()),
        (
            "too long ago",
            { trial.token().claim("acr", "gold").claim("auth_time", now.saturating_sub(301)).sign() },
            again.clone(),
        ),
        ("in the future", { trial.token().claim("acr", "gold").claim("auth_time", now + 3600).sign() }, again.clone()),
        (
            "auth_time is a string",
            { trial.token().claim("acr", "gold").claim("auth_time", now.to_string()).sign() },
            again.clone(),
        ),
        ("good, the first value", fresh().claim("acr", "gold").sign(), caller.clone()),
        ("good, the second value", fresh().claim("acr", "silver").sign(), caller),
    ];
    for (name, token, expected) in cases {
        trial.expect(&format!("step-up: {name}"), get(token), &expected).await;
    }
    trial.expect("step-up: no credential is asked for one", Request::get("/step-up"), &Expected::asked()).await;
}

async fn claims(trial: &mut Trial<'_>) {
    let get = |token: String| Request::get("/claims").bearer(&token);
    let good = trial.token().claim("department", "sales").sign();
    trial.expect("typed claims", get(good), &Expected::Json(json!({ "department": "sales" }))).await;
    let lacking = trial.good();
    trial.expect("claims that do not fit are 401", get(lacking), &Expected::invalid_token()).await;
    let wrong = trial.token().claim("department", 7).sign();
    trial.expect("claims of the wrong type are 401", get(wrong), &Expected::invalid_token()).await;
}
