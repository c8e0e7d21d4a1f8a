use std::fmt::Write as _;
use std::time::Duration;

use sekisho_core::Clock;

use crate::{FixedClock, HostileContext, Issuer, TokenBuilder};

mod client;
mod credentials;
mod dpop;
mod expected;
mod rules;
mod surroundings;
mod tokens;

use client::{Request, Response, send};
use expected::Expected;

/// Checks every rule of HTTP that a web adapter of Sekisho keeps, against a running service, over real sockets.
///
/// The suite is the same for every framework. It brings the requests and knows the answers; the test of an adapter
/// brings the service, which has to be this one:
///
/// **Checkpoint.** It accepts JWTs of the issuer that the suite is given, strict RFC 9068 profile, audience
/// [`AUDIENCE`](Self::AUDIENCE), roles at the JSON pointer [`ROLES`](Self::ROLES), and reads the issuer's clock. It has the realm
/// [`REALM`](Self::REALM), the cookie [`COOKIE`](Self::COOKIE), the credential header [`HEADER`](Self::HEADER), the public routes
/// [`PUBLIC_ROUTES`](Self::PUBLIC_ROUTES), and metadata for the resource [`RESOURCE`](Self::RESOURCE) with the issuer as its only
/// authorization server. All else is as it is by default, and nothing stands outside of it: a CORS layer would answer the
/// preflights that the suite wants to see refused.
///
/// **Routes.** "Caller" means 200 and `{"issuer": …, "subject": …}` of the principal.
///
/// | route | guard | answer |
/// |---|---|---|
/// | `GET /orders` | the checkpoint | caller |
/// | `OPTIONS /orders` | the checkpoint | 204, asks for no principal |
/// | `POST /orders` | `require(scope("orders:write"))` as a layer | caller |
/// | `GET /both` | `require(scope("orders:read orders:write"))` as a layer | caller |
/// | `GET /each` | `require(all_of([scope("orders:read"), scope("orders:write")]))` as a layer | caller |
/// | `GET /any` | `require(any_of([scope("orders:write"), role("admin")]))` as a layer | caller |
/// | `GET /admin` | `require(role("admin"))` as a layer | caller |
/// | `GET /in-handler` | the checkpoint; the handler requires `scope("orders:write")` | caller |
/// | `GET /step-up` | `require(all_of([authentication_context(["gold", "silver"]), max_age(300 s)]))` as a layer | caller |
/// | `GET /claims` | the checkpoint; the handler extracts claims with a string `department` | 200, `{"department": …}` |
/// | `GET /optional` | the checkpoint, optional | caller, or 200 and `null` |
/// | `GET /public/hello` | the checkpoint | 200, any body, no principal extracted |
/// | `GET /public/caller` | the checkpoint; the handler extracts a principal | (401: the route is public, so there is none) |
/// | `GET /nested/orders` | the checkpoint, inside a nested router or scope | caller |
/// | `GET /nested/public/hello` | the same | 200, any body, no principal extracted |
/// | `GET /nested/open` | the same | 200, any body, no principal extracted |
/// | `GET /unguarded` | no checkpoint; the handler extracts a principal | (500) |
/// | `GET /unguarded-rule` | `require(scope("orders:write"))` and no checkpoint | (500) |
/// | [`METADATA_PATH`](Self::METADATA_PATH) | the adapter's own metadata route | the document |
///
/// # Examples
/// ```no_run
/// # async fn start_service(_: &sekisho_testkit::Issuer) -> String { unimplemented!() }
/// # async fn run() -> std::io::Result<()> {
/// use sekisho_core::UnixSeconds;
/// use sekisho_testkit::{FixedClock, HttpSuite, Issuer};
/// let clock = FixedClock::at(UnixSeconds::new(1_700_000_000));
/// let provider = Issuer::new().with_clock(clock.clone()).serve().await?;
/// let base_url = start_service(provider.issuer()).await; // "http://127.0.0.1:…", the routes above
/// HttpSuite::new(base_url, provider.issuer()).with_clock(&clock).run().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct HttpSuite {
    base_url: String,
    issuer: Issuer,
    clock: Option<FixedClock>,
    cold: Option<(String, Issuer)>,
    dpop: Option<String>,
}

impl HttpSuite {
    /// The audience of the service.
    pub const AUDIENCE: &'static str = "orders";
    /// The JSON pointer to the roles, an array of strings.
    pub const ROLES: &'static str = "/roles";
    /// The realm; it has quotes and a backslash, to be escaped.
    pub const REALM: &'static str = r#"orders "eu" \ west"#;
    /// The name of the cookie.
    pub const COOKIE: &'static str = "token";
    /// The name of the credential header.
    pub const HEADER: &'static str = "x-access-token";
    /// The public routes.
    pub const PUBLIC_ROUTES: [&'static str; 2] = ["/public/*", "/nested/open"];
    /// The identifier of the protected resource.
    pub const RESOURCE: &'static str = "https://api.example/orders";
    /// The URL that challenges point to, by RFC 9728 §3.1.
    pub const METADATA_URL: &'static str = "https://api.example/.well-known/oauth-protected-resource/orders";
    /// The path at which the metadata document is served.
    pub const METADATA_PATH: &'static str = "/.well-known/oauth-protected-resource/orders";

    /// The URL under which clients call the service that takes DPoP.
    pub const PUBLIC_URL: &'static str = "https://api.example";

    /// Prepares the suite for a service at `base_url`, such as `http://127.0.0.1:8080`, that trusts `issuer`.
    #[must_use]
    pub fn new(base_url: impl Into<String>, issuer: &Issuer) -> Self {
        Self { base_url: base_url.into(), issuer: issuer.clone(), clock: None, cold: None, dpop: None }
    }

    /// Adds checks of what time does to a token that was good; `clock` is the one that issuer and service read. It is
    /// moved forward by ten minutes.
    #[must_use]
    pub fn with_clock(mut self, clock: &FixedClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Adds checks of a second service of the same make, whose own issuer has never been reachable.
    #[must_use]
    pub fn with_cold_service(mut self, base_url: impl Into<String>, issuer: &Issuer) -> Self {
        self.cold = Some((base_url.into(), issuer.clone()));
        self
    }

    /// Adds checks of a second service of the same make, which takes DPoP proofs by ES256 and maybe more beside bearer
    /// tokens, without nonces, under the public URL [`PUBLIC_URL`](Self::PUBLIC_URL).
    #[must_use]
    pub fn with_dpop_service(mut self, base_url: impl Into<String>) -> Self {
        self.dpop = Some(base_url.into());
        self
    }

    /// Runs all checks.
    ///
    /// # Panics
    /// When a rule is broken; the message lists every one that is.
    pub async fn run(&self) {
        let violations = self.violations().await;
        assert!(violations.is_empty(), "{}", report(&violations));
    }

    /// Runs all checks and returns, one a line, which rules are broken and how.
    pub async fn violations(&self) -> Vec<String> {
        let mut trial = Trial { suite: self, violations: Vec::new() };
        credentials::check(&mut trial).await;
        rules::check(&mut trial).await;
        surroundings::check(&mut trial).await;
        tokens::check(&mut trial).await;
        if let Some((base_url, issuer)) = &self.cold {
            surroundings::check_cold(&mut trial, base_url, issuer).await;
        }
        if let Some(base_url) = &self.dpop {
            dpop::check(&mut trial, base_url).await;
        }
        if let Some(clock) = &self.clock {
            tokens::check_time(&mut trial, clock).await;
        }
        trial.violations
    }
}

fn report(violations: &[String]) -> String {
    let mut text = format!("{} rules of HTTP are broken:\n", violations.len());
    for violation in violations {
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "- {violation}");
    }
    text
}

/// Is one run: it sends, compares and collects.
struct Trial<'s> {
    suite: &'s HttpSuite,
    violations: Vec<String>,
}

impl Trial<'_> {
    /// Begins a token that the service accepts.
    fn token(&self) -> TokenBuilder {
        self.suite.issuer.token().audience(HttpSuite::AUDIENCE)
    }

    fn good(&self) -> String {
        self.token().sign()
    }

    fn caller(&self, subject: &str) -> Expected {
        Expected::caller(self.suite.issuer.url(), subject)
    }

    fn context(&self) -> HostileContext {
        HostileContext::new(&self.suite.issuer, HttpSuite::AUDIENCE)
    }

    /// Sends a request and holds the answer against what is due.
    async fn expect(&mut self, rule: &str, request: Request, expected: &Expected) -> Option<Response> {
        let base_url = self.suite.base_url.clone();
        self.expect_of(&base_url, rule, request, expected).await
    }

    async fn expect_of(
        &mut self,
        base_url: &str,
        rule: &str,
        request: Request,
        expected: &Expected,
    ) -> Option<Response> {
        match send(base_url, &request).await {
            Ok(answer) => {
                let wrong = expected.check(&answer);
                if !wrong.is_empty() {
                    self.violations.push(format!("{rule}: {}; got {}", wrong.join("; "), answer.shown()));
                }
                Some(answer)
            }
            Err(error) => {
                self.violations.push(format!("{rule}: no answer ({error})"));
                None
            }
        }
    }

    fn check(&mut self, rule: &str, holds: bool) {
        if !holds {
            self.violations.push(rule.to_owned());
        }
    }
}

/// How far the suite moves the clock: past the life of its tokens and any sensible leeway.
const LATER: Duration = Duration::from_secs(600);

/// Shows at which instant a violation came up, for suites that move the clock.
fn instant(clock: &FixedClock) -> String {
    format!("at {}", clock.now())
}

#[cfg(test)]
mod tests;
