use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sekisho_core::{AccessRequest, Authorize, Decision, Denial, Failure, Obligation};

/// Checks that an adapter asks for decisions before its routes, serves what is permitted, and nothing else: whatever way a path is
/// written, the decision is that of the route which serves it; an extractor lets a handler run only with a permit.
///
/// `ask` sends one request, by method and path, with a good credential to a new app of the adapter that enforces the policy; it returns
/// the status and the body. The app has these routes, for any method unless one is named:
///
/// | route | asks | shows |
/// |---|---|---|
/// | `/orders/{order}` | action by method, kind `order`, id from `order` | `order ` and the order as its handler sees it |
/// | `GET /orders` | `list` `order` | anything |
/// | `GET /admin/{order}` | `read` `admin`, id from `order` | `admin ` and the order |
/// | `GET /permitted/{order}` | by an extractor `read` `order`, id from `order` | `order ` and the order |
/// | `GET /wrong/{id}` | `read` `order`, id from `order`, which is no parameter here | `order ` and the id |
///
/// # Panics
/// At the first thing that is not as it must be.
pub async fn enforcement_suite(ask: impl AsyncFn(&OrderPolicy, &str, &str) -> (u16, String)) {
    for policy in [OrderPolicy::new(), OrderPolicy::that_waits()] {
        serves_what_is_permitted(&policy, &ask).await;
        decides_by_the_route(&policy, &ask).await;
        extracts_permits(&policy, &ask).await;
    }
}

/// Permits reading order 42 and some more, breaks for order 13, and remembers what it was asked. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct OrderPolicy {
    asked: Arc<Mutex<Vec<String>>>,
    waits: bool,
}

impl OrderPolicy {
    /// Decides at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides only when somebody waits for it.
    #[must_use]
    pub fn that_waits() -> Self {
        Self { waits: true, ..Self::default() }
    }

    /// Returns what it was asked since this was last called: action, kind and id.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn outcome(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let (action, resource) = (request.action(), request.resource());
        let question = format!("{action} {} {}", resource.kind(), resource.id());
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(question);
        match (action, resource.kind(), resource.id()) {
            (_, _, "13") => Err(Failure::unavailable("down")),
            ("read", "order", "obliging") => Ok(Decision::permit().with_obligation(Obligation::new("notify"))),
            ("read", "order", "scoped") => {
                Ok(Decision::deny(Denial::InsufficientScope { scope: "orders:read".into() }))
            }
            ("read", "order", "42" | "a/b" | "ü" | "%2e" | "a+b" | "a b") => Ok(Decision::permit()),
            _ => Ok(Decision::not_applicable()),
        }
    }
}

#[async_trait]
impl Authorize for OrderPolicy {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        (!self.waits).then(|| self.outcome(request))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        tokio::task::yield_now().await;
        self.outcome(request)
    }
}

async fn serves_what_is_permitted(policy: &OrderPolicy, ask: &impl AsyncFn(&OrderPolicy, &str, &str) -> (u16, String)) {
    assert_eq!(ask(policy, "GET", "/orders/42").await, (200, "order 42".to_owned()));
    assert_eq!(policy.asked(), ["read order 42"]);
    for (method, path, status, asked) in [
        ("GET", "/orders/43", 403, &["read order 43"][..]),
        ("POST", "/orders/42", 403, &["create order 42"]),
        ("DELETE", "/orders/42", 403, &["delete order 42"]),
        ("PATCH", "/orders/42", 403, &["update order 42"]),
        ("OPTIONS", "/orders/42", 403, &[]),
        ("PURGE", "/orders/42", 403, &[]),
        ("GET", "/orders/13", 503, &["read order 13"]),
        ("GET", "/orders/obliging", 403, &["read order obliging"]),
        ("GET", "/orders", 403, &["list order "]),
        ("GET", "/admin/42", 403, &["read admin 42"]),
        ("GET", "/wrong/42", 500, &[]),
    ] {
        assert_eq!(ask(policy, method, path).await.0, status, "{method} {path}");
        assert_eq!(policy.asked(), asked, "{method} {path}");
    }
}

async fn decides_by_the_route(policy: &OrderPolicy, ask: &impl AsyncFn(&OrderPolicy, &str, &str) -> (u16, String)) {
    let mut served = 0;
    for path in HOSTILE_PATHS {
        let (status, body) = ask(policy, "GET", path).await;
        let asked = policy.asked();
        if status == 200 {
            served += 1;
            // The handler saw exactly what was asked for.
            assert_eq!(asked, [format!("read {body}")], "{path}");
        } else {
            assert!(matches!(status, 400 | 403 | 404), "{path}: {status}");
        }
    }
    assert!(served >= 4, "{served}");
}

async fn extracts_permits(policy: &OrderPolicy, ask: &impl AsyncFn(&OrderPolicy, &str, &str) -> (u16, String)) {
    assert_eq!(ask(policy, "GET", "/permitted/42").await, (200, "order 42".to_owned()));
    for (path, status) in [("/permitted/43", 403), ("/permitted/13", 503), ("/permitted/scoped", 403)] {
        assert_eq!(ask(policy, "GET", path).await.0, status, "{path}");
    }
    // Not of interest to the next round.
    drop(policy.asked());
}

/// Ways to write a path that servers read differently.
const HOSTILE_PATHS: [&str; 26] = [
    "/orders/42",
    "/orders/42/",
    "//orders/42",
    "/orders//42",
    "/orders/./42",
    "/orders/../orders/42",
    "/admin/../orders/42",
    "/orders/../admin/42",
    "/orders/42/../../admin/7",
    "/orders%2f42",
    "/orders/%34%32",
    "/orders/a%2fb",
    "/orders/a%2Fb",
    "/orders/%2e%2e%2fadmin%2f42",
    "/orders/..",
    "/orders/%2e%2e",
    "/ORDERS/42",
    "/Orders/42",
    "/%6frders/42",
    "/orders/42%00",
    "/orders/42%20",
    "/orders/42;x=1",
    "/orders/%c3%bc",
    "/orders/%252e",
    "/orders/a+b",
    "/orders/%ff",
];
