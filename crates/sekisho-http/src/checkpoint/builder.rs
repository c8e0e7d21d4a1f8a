use std::sync::Arc;

use sekisho_core::{AcceptedProofs, Authenticate, Clock, ConfigError, IntoAuthenticate, SystemClock};

use super::{Accepted, Binding, Checkpoint, Inner};
use crate::answer::{RefusalBody, RefusalContent, RefusalSummary, problem_json};
use crate::certificate::ClientCertificateHeader;
use crate::challenge::{Challenges, Schemes};
use crate::extract::CredentialSources;
use crate::metadata::ProtectedResourceMetadata;
use crate::public_routes::PublicRoutes;
use crate::target;

/// Builds a [`Checkpoint`]. Errors of all steps, the authenticators' included, surface in [`build`](Self::build).
#[must_use]
pub struct CheckpointBuilder<State> {
    authenticators: Vec<Arc<dyn Authenticate>>,
    sources: CredentialSources,
    realm: Option<String>,
    public_urls: Vec<Box<str>>,
    certificate_header: Option<ClientCertificateHeader>,
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
            public_urls: Vec::new(),
            certificate_header: None,
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
            public_urls,
            certificate_header,
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
            public_urls,
            certificate_header,
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

    /// Says under which URL clients call this service, such as `https://api.example`, or with a path where a gateway
    /// takes one away. Callable several times. Needed for DPoP, whose proofs name the URL of the request. Default: none.
    ///
    /// Behind a proxy a service does not see its own scheme and host, and what `Host` and `X-Forwarded-*` say comes from
    /// the caller; so the URL is told here, and nowhere else. The path of the request is put behind it, and must be the one
    /// that the client called: layers outside that rewrite paths, a trailing slash for instance, make proofs fail.
    pub fn with_public_url(mut self, url: &str) -> Self {
        let base = target::base(url);
        if let Some(base) = self.keep(base) {
            self.public_urls.push(base);
        }
        self
    }

    /// Takes the client's certificate from a header of a trusted proxy, for tokens that are bound to one
    /// ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)). Default: from the TLS layer alone.
    ///
    /// On connections from one of the proxies, the header alone counts: a certificate in the TLS layer is the proxy's own.
    /// On all others the header is ignored. The address of the peer is the adapter's to give: axum needs
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    pub fn with_client_certificate_header(mut self, header: ClientCertificateHeader) -> Self {
        self.certificate_header = Some(header);
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
    ///
    /// A checkpoint inside of axum's `nest("/api", …)` sees `/` where the request was for `/api` alone, which no rule can tell from
    /// a rewritten path: the public route `/api` stays guarded there. Put the checkpoint outside of the `nest`.
    pub fn with_public_routes<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, patterns: I) -> Self {
        for pattern in patterns {
            let added = self.public_routes.add(pattern.as_ref());
            self.keep(added);
        }
        self
    }

    /// Lets CORS preflights pass without a credential, the checkpoint and each `require` and `enforce` of it. Default: they
    /// are refused with 401 like any request without one.
    ///
    /// Better leave this alone and put the CORS layer outside of the checkpoint: it answers preflights itself, so they
    /// never get here, and refusals carry its headers too. This is for services that answer preflights further inside.
    ///
    /// Anybody can send what looks like a preflight: `OPTIONS` with one `Origin` and one `Access-Control-Request-Method`, to any
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
    /// The first [`ConfigError`] of the steps before; then DPoP without a public URL, or a header for certificates that
    /// nobody takes or no proxy writes; then of the metadata, then of the realm.
    pub fn build(self) -> Result<Checkpoint, ConfigError> {
        let Self {
            authenticators,
            sources,
            realm,
            public_urls,
            certificate_header,
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
        let proofs: Vec<AcceptedProofs> = authenticators.iter().map(|a| a.accepted_proofs()).collect();
        let takes_certificates = proofs.iter().any(AcceptedProofs::takes_certificates);
        let schemes = schemes(&proofs);
        if schemes.dpop.is_some() && public_urls.is_empty() {
            return Err(ConfigError::new(
                "DPoP proofs name the URL that was called: `with_public_url` must say which it is",
            ));
        }
        if certificate_header.is_some() && !takes_certificates {
            return Err(ConfigError::new("a header for client certificates, and nobody takes tokens bound to one"));
        }
        if certificate_header.as_ref().is_some_and(ClientCertificateHeader::believes_nobody) {
            return Err(ConfigError::new("a header for client certificates, and no proxy is listed that may write it"));
        }
        let sources = if schemes.dpop.is_some() { sources.with_dpop() } else { sources };
        let bases = public_urls.into_boxed_slice();
        let binding = (schemes.dpop.is_some() || takes_certificates).then_some(Binding {
            bases,
            takes_certificates,
            certificate_header,
        });
        let dpop = schemes.dpop.as_deref().map(|algorithms| (algorithms, schemes.only_dpop));
        let metadata = metadata.map(|m| m.with_proofs(dpop, takes_certificates).build()).transpose()?;
        if let Some(metadata) = &metadata {
            public_routes.add_exact(metadata.path());
        }
        let challenges = Challenges::new(realm, metadata.as_ref().map(|m| m.url().to_owned()), schemes)?;
        let takes_dpop = proofs.iter().map(|proofs| proofs.dpop_algorithms().is_some());
        let authenticators = authenticators
            .into_iter()
            .zip(takes_dpop)
            .map(|(authenticator, takes_dpop)| Accepted { authenticator, takes_dpop })
            .collect();
        Ok(Checkpoint(Arc::new(Inner {
            authenticators,
            sources,
            challenges,
            binding,
            metadata,
            public_routes,
            lets_preflight_pass,
            clock,
            body,
        })))
    }
}

/// Puts together what all authenticators take.
fn schemes(proofs: &[AcceptedProofs]) -> Schemes {
    let mut algorithms: Vec<&str> = Vec::new();
    for algorithm in proofs.iter().filter_map(AcceptedProofs::dpop_algorithms).flat_map(|names| names.split(' ')) {
        // They go into a header as they are.
        let is_name = !algorithm.is_empty() && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if is_name && !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    let dpop = (!algorithms.is_empty()).then(|| algorithms.join(" "));
    Schemes { only_dpop: dpop.is_some() && proofs.iter().all(AcceptedProofs::requires_dpop), dpop }
}
