use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Credential, Principal, Refusal, Secret, UnixSeconds};
use sekisho_jwt::{Dpop, Jwt, JwtBuilder};
use sekisho_opaque::{ClientCredentials, Opaque};

use crate::config::{ConfigContext, Introspection, IntrospectionSettings, MakeIntrospection};
use crate::token_swap::TokenSwap;

/// Gives services the JWT behind a client's opaque token: [`PhantomSwap`](sekisho_opaque::PhantomSwap), which asks the issuer for it, or
/// [`Reference`](sekisho_opaque::Reference), which has it in a store.
///
/// The JWT is verified for each request, and must speak for whom the request was authenticated as; one that is bound must be bound to what
/// was proved. Where the same swap is the
/// checkpoint's authenticator, give it a cache: otherwise the issuer is asked twice for each request.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] tokio::runtime::Runtime::new()?.block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sekisho_core::scope;
/// use sekisho_gateway::{Guard, OpaqueSwap, Route, TokenForward, Upstream};
/// use sekisho_opaque::{ClientCredentials, Opaque};
/// # let backend = sekisho_jwt::Backend::aws_lc();
/// let jwts = sekisho_jwt::Jwt::with_backend(backend).issuer("https://id.example").audience("orders").build()?;
/// let phantom = Opaque::with_backend(backend)
///     .phantom("https://id.example/introspect", ClientCredentials::basic("gateway", "secret"))
///     .issuer("https://id.example")
///     .verifier(jwts)
///     .cache_for(Duration::from_secs(30)) // how late a revocation is noticed
///     .build()?;
/// let checkpoint = sekisho_http::Checkpoint::builder().accept(phantom.clone()).build()?;
/// let orders = Upstream::new("orders", "http://127.0.0.1:9000")?;
/// let guard = Guard::Checkpoint { checkpoint, requirement: scope("orders:read") };
/// let route = Route::new("/orders/*", &orders, guard).forwarding(TokenForward::Swap(Arc::new(OpaqueSwap::new(phantom))));
/// # let _ = route;
/// # Ok::<(), sekisho_core::ConfigError>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OpaqueSwap(Arc<dyn sekisho_opaque::TokenSwap>);

impl OpaqueSwap {
    /// Swaps by this.
    #[must_use]
    pub fn new(swap: impl sekisho_opaque::TokenSwap + 'static) -> Self {
        Self(Arc::new(swap))
    }
}

#[async_trait]
impl TokenSwap for OpaqueSwap {
    fn swap_now(
        &self,
        credential: Credential<'_>,
        principal: &Principal,
        now: UnixSeconds,
    ) -> Option<Result<Secret, Refusal>> {
        Some(self.0.to_jwt_for_now(credential.expose(), principal, now)?.map(|inner| Secret::from(inner.expose())))
    }

    async fn swap(
        &self,
        credential: Credential<'_>,
        principal: &Principal,
        now: UnixSeconds,
    ) -> Result<Secret, Refusal> {
        Ok(Secret::from(self.0.to_jwt_for(credential.expose(), principal, now).await?.expose()))
    }
}

impl fmt::Debug for OpaqueSwap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueSwap(..)")
    }
}

/// Verifies opaque tokens by asking their issuer ([RFC 7662](https://www.rfc-editor.org/rfc/rfc7662)), with the client of `sekisho-opaque`.
/// [`ConfigContext::default`] has it.
///
/// On routes with `token = "swap"` the same endpoint is asked a second time, with `Accept: application/jwt`, for the JWT, which is verified by
/// the keys that the issuer's metadata name, for the same audiences; `cache_s` holds for both answers.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct OpaqueIntrospection;

impl OpaqueIntrospection {
    /// Makes one; everything comes from file and context.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl MakeIntrospection for OpaqueIntrospection {
    fn make(&self, settings: &IntrospectionSettings, context: &ConfigContext) -> Result<Introspection, ConfigError> {
        let IntrospectionSettings {
            endpoint,
            issuer,
            audiences,
            client_id,
            client_secret,
            cache,
            dpop,
            certificate_bound,
        } = settings;
        let backend = context.backend().ok_or_else(|| ConfigError::new("no crypto backend was chosen"))?;
        let credentials = ClientCredentials::basic(client_id.as_str(), client_secret.clone());
        let mut audiences = audiences.iter().cloned();
        let first = audiences.next().ok_or_else(|| ConfigError::new("no audience"))?;

        let mut jwt = Jwt::with_backend(backend).issuer(issuer).audience(first.clone());
        jwt = audiences.clone().fold(jwt, JwtBuilder::with_audience).with_clock(Arc::clone(context.clock()));
        let start = Opaque::with_backend(backend).introspect(endpoint, credentials.clone());
        let mut introspection = start.issuer(issuer).audience(first).with_clock(Arc::clone(context.clock()));
        introspection = audiences.fold(introspection, |builder, audience| builder.with_audience(audience));
        // The JWT behind a bound token is bound as well, and must not be refused for it.
        if *dpop {
            introspection = introspection.with_dpop(Dpop::new());
            jwt = jwt.with_dpop(Dpop::new());
        }
        if *certificate_bound {
            introspection = introspection.with_certificate_binding();
            jwt = jwt.with_certificate_binding();
        }
        if let Some(client) = context.http_client() {
            jwt = jwt.with_http_client(Arc::clone(client));
        }
        let start = Opaque::with_backend(backend).phantom(endpoint, credentials);
        let mut phantom = start.issuer(issuer).verifier(jwt.build()?);
        if let Some(client) = context.http_client() {
            introspection = introspection.with_http_client(Arc::clone(client));
            phantom = phantom.with_http_client(Arc::clone(client));
        }
        if let Some(revocation) = context.revocation() {
            introspection = introspection.with_revocation(Arc::clone(revocation));
            phantom = phantom.with_revocation(Arc::clone(revocation));
        }
        if let Some(time) = cache {
            introspection = introspection.cache_for(*time);
            phantom = phantom.cache_for(*time);
        }
        Ok(Introspection {
            authenticator: Arc::new(introspection.build()?),
            swap: Some(Arc::new(OpaqueSwap::new(phantom.build()?))),
        })
    }
}
