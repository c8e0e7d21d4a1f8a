use std::sync::Arc;

use sekisho_core::{Authenticate, Clock, ConfigError, IntoAuthenticate, SystemClock};

use super::{Checkpoint, Inner};
use crate::answer::{RefusalBody, RefusalContent, RefusalSummary, problem_json};
use crate::challenge::Challenges;
use crate::extract::CredentialSources;
use crate::metadata::ProtectedResourceMetadata;
use crate::public_routes::PublicRoutes;

/// Builds a [`Checkpoint`]. Errors of all steps, the authenticators' included, surface in [`build`](Self::build).
#[must_use]
pub struct CheckpointBuilder<State> {
    authenticators: Vec<Arc<dyn Authenticate>>,
    sources: CredentialSources,
    realm: Option<String>,
    metadata: Option<ProtectedResourceMetadata>,
    public_routes: PublicRoutes,
    lets_preflight_pass: bool,
    clock: Arc<dyn Clock>,
    body: Arc<RefusalBody>,
    first_error: Option<ConfigError>,
    state: std::marker::PhantomData<State>,
}

/// Marks a builder that accepts nothing yet, and so cannot build.
///
/// ```
/// let builder = sekisho_http::Checkpoint::builder().with_realm("orders");
/// # let _ = builder;
/// ```
/// ```compile_fail,E0599
/// let builder = sekisho_http::Checkpoint::builder().with_realm("orders").build();
/// # let _ = builder;
/// ```
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "has no values")]
pub enum NeedsAuthenticator {}

/// Marks a builder that can build.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "has no values")]
pub enum Ready {}

impl CheckpointBuilder<NeedsAuthenticator> {
    pub(super) fn new() -> Self {
        Self {
            authenticators: Vec::new(),
            sources: CredentialSources::new(),
            realm: None,
            metadata: None,
            public_routes: PublicRoutes::default(),
            lets_preflight_pass: false,
            clock: Arc::new(SystemClock),
            body: Arc::new(problem_json),
            first_error: None,
            state: std::marker::PhantomData,
        }
    }
}

impl<State> CheckpointBuilder<State> {
    /// Accepts credentials of this kind: an authenticator, or the builder of one.
    ///
    /// With several, the first that recognizes a credential is asked, and only that one. So two of the same kind do not go
    /// together: every JWT goes to the first JWT verifier. Several issuers are one verifier (`Jwt::…().also(…)`).
    pub fn accept(self, authenticator: impl IntoAuthenticate) -> CheckpointBuilder<Ready> {
        let Self {
            mut authenticators,
            sources,
            realm,
            metadata,
            public_routes,
            lets_preflight_pass,
            clock,
            body,
            mut first_error,
            state: _,
        } = self;
        match authenticator.into_authenticate() {
            Ok(authenticator) => authenticators.push(authenticator),
            Err(error) => first_error = first_error.or(Some(error)),
        }
        let state = std::marker::PhantomData;
        CheckpointBuilder {
            authenticators,
            sources,
            realm,
            metadata,
            public_routes,
            lets_preflight_pass,
            clock,
            body,
            first_error,
            state,
        }
    }

    /// Takes credentials from the cookie of this name too, one name in all. Default: none.
    ///
    /// Browsers send cookies along from any page, so routes that change something then need protection against
    /// cross-site requests.
    ///
    /// Shared caches know by `Authorization` that an answer is one caller's own
    /// ([RFC 9111 §3.5](https://www.rfc-editor.org/rfc/rfc9111#section-3.5)), and not by a cookie: what guarded
    /// handlers answer must say `Cache-Control: private` or `no-store` itself.
    pub fn with_cookie(mut self, name: &str) -> Self {
        let sources = std::mem::take(&mut self.sources).with_cookie(name);
        self.sources = self.keep(sources).unwrap_or_default();
        self
    }

    /// Takes credentials from the whole value of the header of this name too, one name in all. Default: none.
    ///
    /// Shared caches do not know this header for a credential: what guarded handlers answer must say `Cache-Control:
    /// private` or `no-store` itself, or be marked `Vary` by this header.
    pub fn with_header(mut self, name: &str) -> Self {
        let sources = std::mem::take(&mut self.sources).with_header(name);
        self.sources = self.keep(sources).unwrap_or_default();
        self
    }

    /// Names the protected part of the service in challenges, printable ASCII. Default: none; where a challenge would
    /// then have no parameter at all, which RFC 6750 §3 forbids, `realm="protected"`.
    pub fn with_realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// Points to this document in each challenge, and makes its path public. Default: none.
    pub fn with_resource_metadata(mut self, metadata: ProtectedResourceMetadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Lets these paths pass without a look at any credential, whatever the method: exact ones, such as `/health`, and
    /// all below one, such as `/assets/*`. Default: none.
    ///
    /// `/assets/*` opens neither `/assets` nor `/assets/`; name them beside it if they are public too. A path that could
    /// be read in two ways (`//`, dots as segments, encoded slashes or dots or what Unicode makes of them, text that is
    /// not UTF-8, `\`, `;`) is never public by a `/*`.
    ///
    /// The path is the whole one, as the server got it, also in nested routers and scopes. Middleware that rewrites the
    /// path, such as one that trims slashes, belongs outside of the checkpoint: inside, a path that was found public could
    /// become a guarded one.
    pub fn with_public_routes<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, patterns: I) -> Self {
        for pattern in patterns {
            let added = self.public_routes.add(pattern.as_ref());
            self.keep(added);
        }
        self
    }

    /// Lets CORS preflights pass without a credential, the checkpoint and each of its `require`s. Default: they are
    /// refused with 401 like any request without one.
    ///
    /// Better leave this alone and put the CORS layer outside of the checkpoint: it answers preflights itself, so they
    /// never get here, and refusals carry its headers too. This is for services that answer preflights further inside.
    ///
    /// Anybody can send what looks like a preflight: `OPTIONS` with `Origin` and `Access-Control-Request-Method`, to any
    /// path. So this opens every handler that takes `OPTIONS`, handlers for any method and fallbacks among them, and
    /// whatever routes by the path alone, as tonic does. With a content type of gRPC, it is no preflight.
    pub fn with_preflight_passing(mut self) -> Self {
        self.lets_preflight_pass = true;
        self
    }

    /// Takes the time from this clock. Default: the operating system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Writes the body of refusals. Default: problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) that
    /// add nothing to the status.
    pub fn with_refusal_body(
        mut self,
        body: impl Fn(&RefusalSummary) -> RefusalContent + Send + Sync + 'static,
    ) -> Self {
        self.body = Arc::new(body);
        self
    }

    fn keep<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.first_error.get_or_insert(error);
                None
            }
        }
    }
}

impl CheckpointBuilder<Ready> {
    /// Builds the checkpoint. It opens no connection.
    ///
    /// # Errors
    /// The first [`ConfigError`] of the steps before; then of the metadata, then of the realm.
    pub fn build(self) -> Result<Checkpoint, ConfigError> {
        let Self {
            authenticators,
            sources,
            realm,
            metadata,
            mut public_routes,
            lets_preflight_pass,
            clock,
            body,
            first_error,
            state: _,
        } = self;
        if let Some(error) = first_error {
            return Err(error);
        }
        let metadata = metadata.map(ProtectedResourceMetadata::build).transpose()?;
        if let Some(metadata) = &metadata {
            public_routes.add_exact(metadata.path());
        }
        let challenges = Challenges::new(realm, metadata.as_ref().map(|m| m.url().to_owned()))?;
        let authenticators = authenticators.into_boxed_slice();
        Ok(Checkpoint(Arc::new(Inner {
            authenticators,
            sources,
            challenges,
            metadata,
            public_routes,
            lets_preflight_pass,
            clock,
            body,
        })))
    }
}
