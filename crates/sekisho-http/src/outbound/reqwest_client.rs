use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::ConfigError;

use super::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse};

/// Sends with `reqwest`, TLS by rustls, no redirects, no cookies, proxies as the environment says.
///
/// Cloning shares its connections.
#[derive(Clone)]
pub struct ReqwestClient(reqwest::Client);

impl ReqwestClient {
    /// Builds a client with a connect timeout, 1 s in [`HttpLimits::default`].
    ///
    /// # Errors
    /// [`ConfigError`] when TLS cannot be set up.
    pub fn new(connect_timeout: Duration) -> Result<Self, ConfigError> {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(connect_timeout)
            .user_agent(concat!("sekisho/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|e| ConfigError::new("the HTTP client cannot be set up").with_source(e))
    }

    /// Takes a client that the caller built, for a proxy, a private authority or a client certificate.
    ///
    /// The caller must have switched redirects off (`redirect::Policy::none()`): a key set must
    /// come from the host that was configured.
    #[must_use]
    pub const fn from_client(client: reqwest::Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl HttpClient for ReqwestClient {
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let method = match request.method {
            HttpMethod::Get => reqwest::Method::GET,
            HttpMethod::Post => reqwest::Method::POST,
        };
        let url = reqwest::Url::parse(&request.url).map_err(|_| HttpError::Url)?;
        let mut outgoing = self.0.request(method, url).timeout(limits.total_timeout);
        for (name, value) in &request.headers {
            outgoing = outgoing.header(*name, value);
        }
        if !request.body.is_empty() {
            outgoing = outgoing.body(request.body);
        }
        let mut response = outgoing.send().await.map_err(classify)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(classify)? {
            if body.len() + chunk.len() > limits.max_body_bytes {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body })
    }
}

fn classify(error: reqwest::Error) -> HttpError {
    // The URL may hold a query that is nobody's business in a log.
    let error = error.without_url();
    if error.is_timeout() {
        HttpError::Timeout
    } else if error.is_connect() {
        HttpError::Connect(error.into())
    } else if error.is_builder() {
        HttpError::Url
    } else {
        HttpError::Broken(error.into())
    }
}

impl fmt::Debug for ReqwestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestClient")
    }
}
