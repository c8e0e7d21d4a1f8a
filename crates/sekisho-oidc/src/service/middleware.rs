use async_trait::async_trait;
use http::Extensions;
use reqwest_middleware::reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use super::attach::Attacher;
use super::origins::{AllowedOrigins, Origin};
use super::request::TokenRequest;
use super::source::ServiceTokens;

/// Attaches access tokens to the requests of a `reqwest` client.
///
/// A request gets a token if it goes to one of the [`AllowedOrigins`] and has no `Authorization` of its own; any other passes as it is.
/// Which token, its extensions say by a [`TokenRequest`] (`.with_extension(..)`), or else the [default](Self::with_default). With tokens
/// that are [bound to a key](super::ServiceTokensBuilder::with_dpop), each request gets a proof of its own too.
///
/// An answer of 401 makes it send the request again, once with another token, and once with the nonce that the service asks for
/// (`use_dpop_nonce`): if the body is in memory, which a stream is not; for a fresh token, if the method is idempotent or the challenge
/// says `invalid_token`; and not for a token that was fetched less than 5 s ago. Otherwise the 401 is the answer.
///
/// `reqwest` follows redirects behind every middleware. It takes `Authorization` out when host or port change, but a redirect within a
/// server keeps it: build the client with `redirect(Policy::none())` unless you need them.
///
/// # Examples
/// ```
/// use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, reqwest};
/// use sekisho_oidc::{AllowedOrigins, ServiceTokenMiddleware, ServiceTokens, TokenRequest};
///
/// fn client(tokens: ServiceTokens) -> Result<ClientWithMiddleware, Box<dyn std::error::Error>> {
///     let origins = AllowedOrigins::new(["https://stock.example"])?;
///     let wanted = TokenRequest::client_credentials().with_audience("stock");
///     let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
///     Ok(ClientBuilder::new(client).with(ServiceTokenMiddleware::new(tokens, origins).with_default(wanted)).build())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ServiceTokenMiddleware(Attacher);

impl ServiceTokenMiddleware {
    /// Attaches `tokens` to requests that go to these servers.
    #[must_use]
    pub const fn new(tokens: ServiceTokens, origins: AllowedOrigins) -> Self {
        Self(Attacher { tokens, origins, default: None })
    }

    /// Sets which token is attached to requests that do not say. Default: none, and such a request fails.
    #[must_use]
    pub fn with_default(mut self, wanted: TokenRequest) -> Self {
        self.0.default = Some(wanted);
        self
    }
}

#[async_trait]
impl Middleware for ServiceTokenMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        if !self.0.is_meant(Origin::of(request.url()).as_ref(), request.headers()) {
            return next.run(request, extensions).await;
        }
        let own = extensions.get::<TokenRequest>().cloned();
        let mut attempt = self.0.begin(own).await.map_err(Error::middleware)?;
        let (method, url) = (request.method().clone(), request.url().as_str().to_owned());
        loop {
            let spare = if attempt.may_repeat() { request.try_clone() } else { None };
            attempt.write(request.headers_mut(), &method, &url).map_err(Error::middleware)?;
            let response = next.clone().run(request, extensions).await?;
            let again = attempt.after(spare.is_some(), &method, &url, response.status(), response.headers()).await;
            match spare {
                Some(spare) if again => request = spare,
                _ => return Ok(response),
            }
        }
    }
}
