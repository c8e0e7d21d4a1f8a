//! What is around a guarded route: public and optional ones, preflights, missing layers, gRPC's content type, keys that
//! never came.

use serde_json::{Value, json};

use super::client::Request;
use super::{Expected, HttpSuite, Trial};
use crate::Issuer;

pub(super) async fn check(trial: &mut Trial<'_>) {
    optional(trial).await;
    public(trial).await;
    preflight(trial).await;
    layers(trial).await;
    metadata(trial).await;
    grpc(trial).await;
}

async fn optional(trial: &mut Trial<'_>) {
    let (good, caller) = (trial.good(), trial.caller("u1"));
    let nobody = Expected::Json(Value::Null);
    trial.expect("optional: no credential passes as nobody", Request::get("/optional"), &nobody).await;
    let basic = Request::get("/optional").header("Authorization", "Basic dTpw");
    trial.expect("optional: another scheme passes as nobody", basic, &nobody).await;
    trial.expect("optional: a good one is somebody", Request::get("/optional").bearer(&good), &caller).await;
    let expired = trial.token().expired().sign();
    let bad = Expected::invalid_token();
    trial.expect("optional: an expired one does not pass", Request::get("/optional").bearer(&expired), &bad).await;
    let malformed = Request::get("/optional").header("Authorization", "Bearer");
    trial.expect("optional: a malformed one does not pass", malformed, &Expected::invalid_request()).await;
    let two = Request::get("/optional").bearer(&good).bearer(&good);
    trial.expect("optional: two do not pass", two, &Expected::invalid_request()).await;
}

async fn public(trial: &mut Trial<'_>) {
    let passes = Expected::Status(200);
    trial.expect("public: no credential", Request::get("/public/hello"), &passes).await;
    trial.expect("public: a bad one is not looked at", Request::get("/public/hello").bearer("a.b.c"), &passes).await;
    let two = Request::get("/public/hello").bearer("a").bearer("b");
    trial.expect("public: two are not looked at", two, &passes).await;
    let caller = Request::get("/public/caller").bearer(&trial.good());
    trial
        .expect("public: nobody was asked, so a handler that needs a caller has none", caller, &Expected::asked())
        .await;
    let closed = Expected::OneOf(&[401, 404]);
    trial.expect("a public prefix alone is not public", Request::get("/public/"), &closed).await;
    // A server may normalise such paths, route them nowhere or refuse them; it must not open the orders.
    for path in [
        "/public/../orders",
        "/public/./../orders",
        "/public//../orders",
        "/public/%2e%2e/orders",
        "/public/%2E%2E%2Forders",
        "/public/..%2forders",
        "/public/%c0%ae%c0%ae/orders",
        "/public/%ef%bc%8e%ef%bc%8e/orders",
        "/public\\..\\orders",
        "/public/..;/orders",
        "//orders",
        "/orders/",
        "/orders%00",
        "/ORDERS",
    ] {
        let closed = Expected::OneOf(&[301, 302, 307, 308, 400, 401, 404]);
        trial.expect(&format!("the path {path} opens nothing"), Request::get(path), &closed).await;
    }
    let below = Request::get("/nested/public/hello");
    trial.expect("what is left of a nested path is not the path: it is not public", below, &Expected::asked()).await;
    trial.expect("a nested path is public by its whole", Request::get("/nested/open"), &passes).await;
    let query = Request::get("/orders?/public/hello");
    trial.expect("a public path in the query opens nothing", query, &Expected::asked()).await;
    let rewritten =
        Request::get("/orders").header("X-Original-URL", "/public/hello").header("X-Rewrite-URL", "/public/hello");
    trial.expect("a public path in a header opens nothing", rewritten, &Expected::asked()).await;
}

/// A browser sends a preflight without credentials ([Fetch §4.8](https://fetch.spec.whatwg.org/#cors-preflight-request)), and
/// so can anybody else. It is for a CORS layer outside of the checkpoint; without one, it is refused.
async fn preflight(trial: &mut Trial<'_>) {
    let origin = ("Origin", "https://app.example");
    let asks = ("Access-Control-Request-Method", "POST");
    let request = |method, headers: &[(&'static str, &str)]| {
        headers.iter().fold(Request::new(method, "/orders"), |request, (name, value)| request.header(name, value))
    };
    let (none, marks) = (Expected::asked(), [origin, asks]);
    trial.expect("a preflight does not pass without a credential", request("OPTIONS", &marks), &none).await;
    let grpc = request("OPTIONS", &marks).header("Content-Type", "application/grpc");
    trial.expect("a preflight with gRPC's content type does not pass", grpc, &none).await;
    trial.expect("plain OPTIONS does not pass", request("OPTIONS", &[]), &none).await;
    let with = request("OPTIONS", &marks).bearer(&trial.good());
    trial.expect("OPTIONS with a credential passes", with, &Expected::Status(204)).await;
    for method in ["GET", "POST"] {
        let rule = format!("{method} with the marks of a preflight does not pass");
        trial.expect(&rule, request(method, &marks), &none).await;
        let overridden = request(method, &marks).header("X-HTTP-Method-Override", "OPTIONS");
        trial.expect(&format!("{rule}, with another method in a header"), overridden, &none).await;
    }
    let ruled = Request::new("OPTIONS", "/admin").header(origin.0, origin.1).header(asks.0, asks.1);
    trial.expect("a preflight of a route with a rule does not pass", ruled, &none).await;
}

async fn layers(trial: &mut Trial<'_>) {
    let good = trial.good();
    let failed = Expected::Failed(500);
    for path in ["/unguarded", "/unguarded-rule"] {
        let rule = format!("a missing layer is a 500, not a silent pass: {path}");
        trial.expect(&rule, Request::get(path).bearer(&good), &failed).await;
        trial.expect(&format!("{rule}, without a credential"), Request::get(path), &failed).await;
    }
    let caller = trial.caller("u1");
    trial.expect("nested: a good one", Request::get("/nested/orders").bearer(&good), &caller).await;
    trial.expect("nested: none", Request::get("/nested/orders"), &Expected::asked()).await;
    let bad = Request::get("/nested/orders").bearer("a.b.c");
    trial.expect("nested: a bad one", bad, &Expected::invalid_token()).await;
}

/// [RFC 9728 §3](https://www.rfc-editor.org/rfc/rfc9728#section-3).
async fn metadata(trial: &mut Trial<'_>) {
    let request = Request::get(HttpSuite::METADATA_PATH);
    let rule = "the metadata document is public";
    let Some(answer) = trial.expect(rule, request, &Expected::Status(200)).await else { return };
    let kind = answer.one("content-type").map(str::to_owned);
    trial.check("the metadata document is application/json", kind.as_deref() == Some("application/json"));
    let document = answer.json().unwrap_or_default();
    let resource = document.get("resource") == Some(&json!(HttpSuite::RESOURCE));
    trial.check("the metadata document names the resource", resource);
    let servers = document.get("authorization_servers") == Some(&json!([trial.suite.issuer.url()]));
    trial.check("the metadata document names the issuer", servers);
}

/// Whoever asks by HTTP, as gateways do with the headers of their caller, must not be told 200.
async fn grpc(trial: &mut Trial<'_>) {
    let good = trial.good();
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web"] {
        for method in ["GET", "POST"] {
            let send = |path: &str| Request::new(method, path).header("Content-Type", kind);
            let rule = format!("{kind} does not change a refused {method}");
            trial.expect(&format!("{rule}: no credential"), send("/orders"), &Expected::asked()).await;
            let bad = send("/orders").bearer("a.b.c");
            trial.expect(&format!("{rule}: a bad one"), bad, &Expected::invalid_token()).await;
        }
        let denied = Request::get("/admin").header("Content-Type", kind).bearer(&good);
        trial
            .expect(&format!("{kind} does not change a refused GET: not allowed"), denied, &Expected::forbidden())
            .await;
    }
}

/// A service whose issuer never answered knows nothing about tokens, and says so.
pub(super) async fn check_cold(trial: &mut Trial<'_>, base_url: &str, issuer: &Issuer) {
    let good = issuer.token().audience(HttpSuite::AUDIENCE).scope("orders:write").sign();
    let down = Expected::Failed(503);
    for (name, request) in [
        ("a good token", Request::get("/orders").bearer(&good)),
        ("a good token with its scope", Request::new("POST", "/orders").bearer(&good)),
        ("a good token on an optional route", Request::get("/optional").bearer(&good)),
        ("a good token in the cookie", {
            Request::get("/orders").header("Cookie", format!("{}={good}", HttpSuite::COOKIE))
        }),
    ] {
        trial.expect_of(base_url, &format!("no keys yet: {name} is 503"), request, &down).await;
    }
    let foreign = Issuer::with_url("https://attacker.example").token().audience(HttpSuite::AUDIENCE).sign();
    for (name, request, expected) in [
        ("no credential is 401", Request::get("/orders"), Expected::asked()),
        ("no credential passes an optional route", Request::get("/optional"), Expected::Json(Value::Null)),
        ("a public route passes", Request::get("/public/hello"), Expected::Status(200)),
        ("nonsense is 401", Request::get("/orders").bearer("a.b.c"), Expected::invalid_token()),
        // Whoever looks at the issuer first can say 401; whoever looks for the key first cannot know.
        ("a foreign issuer is refused", Request::get("/orders").bearer(&foreign), Expected::OneOf(&[401, 503])),
        ("two are 400", Request::get("/orders").bearer(&good).bearer(&good), Expected::invalid_request()),
    ] {
        trial.expect_of(base_url, &format!("no keys yet: {name}"), request, &expected).await;
    }
}
