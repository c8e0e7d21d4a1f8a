use std::net::{IpAddr, Ipv4Addr};

use sekisho_core::json::{JsonObject, JsonValue};
use sekisho_core::{Enforcer, when};
use sekisho_http::{Answer, Checkpoint, Circumstances, RouteQuestion};

use crate::{FakeAuthenticator, OrderPolicy};

/// Checks that an adapter lets CORS preflights pass before its enforced routes where the checkpoint was told to, and asks nothing
/// about them.
///
/// `ask` sends one request for `/orders/42`, with this method and these headers, to a new app of the adapter behind this checkpoint; it
/// returns the status and the body. The route asks by method for kind `order` and the id `42`, takes any method, and shows `order 42`.
///
/// # Panics
/// At the first thing that is not as it must be.
pub async fn preflight_suite(ask: impl AsyncFn(&Checkpoint, &OrderPolicy, &str, &[(&str, &str)]) -> (u16, String)) {
    const ORIGIN: (&str, &str) = ("origin", "https://shop.example");
    const WANTS: (&str, &str) = ("access-control-request-method", "DELETE");
    const GOOD: (&str, &str) = ("authorization", "Bearer good");
    let preflight = async |checkpoint: &Checkpoint, method: &str, headers: &[(&str, &str)]| {
        let policy = OrderPolicy::new();
        let (status, body) = ask(checkpoint, &policy, method, headers).await;
        (status, body, policy.asked())
    };
    let build = |passing: bool| {
        let builder = Checkpoint::builder().accept(FakeAuthenticator);
        let builder = if passing { builder.with_preflight_passing() } else { builder };
        builder.build().unwrap_or_else(|error| panic!("a checkpoint: {error}"))
    };
    let passing = build(true);
    let passed = (200, "order 42".to_owned(), Vec::new());
    assert_eq!(preflight(&passing, "OPTIONS", &[ORIGIN, WANTS]).await, passed);
    assert_eq!(preflight(&passing, "OPTIONS", &[WANTS, ORIGIN, GOOD]).await, passed);
    for (method, headers, status, asked) in [
        ("OPTIONS", &[][..], 401, &[][..]),
        ("OPTIONS", &[ORIGIN], 401, &[]),
        ("OPTIONS", &[WANTS], 401, &[]),
        ("OPTIONS", &[ORIGIN, ORIGIN, WANTS], 401, &[]),
        ("OPTIONS", &[ORIGIN, WANTS, ("access-control-request-method", "GET")], 401, &[]),
        ("OPTIONS", &[ORIGIN, WANTS, ("content-type", "application/grpc")], 401, &[]),
        ("OPTIONS", &[GOOD], 403, &[]),
        ("OPTIONS", &[GOOD, ORIGIN, WANTS, WANTS], 403, &[]),
        ("GET", &[ORIGIN, WANTS], 401, &[]),
        ("GET", &[ORIGIN, WANTS, GOOD], 200, &["read order 42"]),
        ("DELETE", &[ORIGIN, WANTS, GOOD], 403, &["delete order 42"]),
        ("POST", &[ORIGIN, WANTS, ("x-http-method-override", "OPTIONS")], 401, &[]),
    ] {
        let (got, body, questions) = preflight(&passing, method, headers).await;
        assert_eq!(got, status, "{method} {headers:?}");
        assert_eq!(questions, asked, "{method} {headers:?}");
        assert_eq!(body == "order 42", status == 200, "{method} {headers:?}");
    }
    // Unless it was told so, it is as any other request.
    let usual = build(false);
    assert_eq!(preflight(&usual, "OPTIONS", &[ORIGIN, WANTS]).await.0, 401);
    assert_eq!(preflight(&usual, "OPTIONS", &[ORIGIN, WANTS, GOOD]).await.0, 403);
}

/// Checks that an adapter's policies see what the request says, before its routes and in its extractors.
///
/// `ask` sends one request, with a good credential, this method, these headers and from this address, to a route that puts
/// [`KIOSK_QUESTION`] to a [`kiosk_policy`]; it returns the status, 200 of whoever gets to the handler.
///
/// # Panics
/// At the first thing that is not as it must be.
pub async fn circumstances_suite(ask: impl AsyncFn(&str, &[(&str, &str)], Option<IpAddr>) -> u16) {
    let address = |last: u8| Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
    let (kiosk, here, there) = (("x-device", "kiosk"), address(7), address(8));
    for (method, headers, peer, expected) in [
        ("GET", &[kiosk][..], here, 200),
        ("GET", &[kiosk], there, 403),
        ("GET", &[kiosk], None, 403),
        ("GET", &[kiosk, ("x-forwarded-for", "192.0.2.7")], there, 403),
        ("GET", &[], here, 403),
        ("GET", &[("x-device", "till")], here, 403),
        ("GET", &[kiosk, ("x-device", "till")], here, 400),
        ("GET", &[kiosk, kiosk], here, 400),
        ("POST", &[kiosk], here, 403),
    ] {
        let got = ask(method, headers, peer).await;
        assert_eq!(got, expected, "{method} {headers:?} {peer:?}");
    }
}

/// Asks to read an order, with the address and the device of the request as context, and its method as a property of the action.
pub const KIOSK_QUESTION: RouteQuestion =
    RouteQuestion::new("read", "order").with_context(context).with_action_properties(properties);

fn context(request: &Circumstances<'_>) -> Result<JsonObject, Answer> {
    let device = request.header("x-device")?;
    JsonObject::from_serialize(&serde_json::json!({ "ip": request.peer(), "device": device }))
        .map_err(|_| Answer::bad_request())
}

fn properties(request: &Circumstances<'_>) -> Result<JsonObject, Answer> {
    JsonObject::from_serialize(&serde_json::json!({ "method": request.method() })).map_err(|_| Answer::bad_request())
}

/// Permits a `GET` from the kiosk's device and address.
#[must_use]
pub fn kiosk_policy() -> Enforcer {
    Enforcer::new(when("at the kiosk", |request| {
        let text = |object: Option<&JsonObject>, name| {
            object.and_then(|object| object.get(name)).and_then(JsonValue::as_str).map(|text| text.into_owned())
        };
        text(request.context(), "ip").as_deref() == Some("192.0.2.7")
            && text(request.context(), "device").as_deref() == Some("kiosk")
            && text(request.action_properties(), "method").as_deref() == Some("GET")
    }))
}
