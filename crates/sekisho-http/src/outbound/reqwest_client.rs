use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::ConfigError;

use super::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse};
use crate::address::is_loopback;

/// Sends with `reqwest`, TLS by rustls, no redirects, no cookies.
///
/// Proxies are those of the environment, save for this machine's own servers (`127.0.0.0/8`, `::1`, `localhost`): plain http
/// is trusted there because it does not leave the machine, so no proxy is asked for them.
///
/// Cloning shares its connections.
#[derive(Clone)]
pub struct ReqwestClient {
    client: reqwest::Client,
    /// For this machine's own servers: never by a proxy.
    direct: reqwest::Client,
}

impl ReqwestClient {
    /// Builds a client with a connect timeout, 1 s in [`HttpLimits::default`].
    ///
    /// # Errors
    /// [`ConfigError`] when TLS cannot be set up.
    pub fn new(connect_timeout: Duration) -> Result<Self, ConfigError> {
        Self::from_builder(|| {
            reqwest::Client::builder()
                .connect_timeout(connect_timeout)
                .user_agent(concat!("sekisho/", env!("CARGO_PKG_VERSION")))
        })
    }

    /// Builds a client from settings of your own: a proxy, a private authority, a client certificate, timeouts.
    ///
    /// `builder` is called twice, because servers on this machine get a client without any proxy. Whatever it says of
    /// redirects and retries, they are off: a key set must come from the host that was configured, and a server that is down
    /// must not be asked more often than the caller meant. The connect timeout is the builder's, not that of [`HttpLimits`].
    ///
    /// # Errors
    /// [`ConfigError`] when the settings do not go together or TLS cannot be set up.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use sekisho_http::ReqwestClient;
    /// let proxy = reqwest::Proxy::all("http://proxy.example:3128")?;
    /// let client = ReqwestClient::from_builder(|| {
    ///     reqwest::Client::builder().connect_timeout(Duration::from_secs(1)).proxy(proxy.clone())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_builder(builder: impl Fn() -> reqwest::ClientBuilder) -> Result<Self, ConfigError> {
        let build = |builder: reqwest::ClientBuilder| {
            let built = builder.redirect(reqwest::redirect::Policy::none()).retry(reqwest::retry::never()).build();
            built.map_err(|e| ConfigError::new("the HTTP client cannot be set up").with_source(e))
        };
        Ok(Self { client: build(builder())?, direct: build(builder().no_proxy())? })
    }

    fn client_for(&self, url: &reqwest::Url) -> &reqwest::Client {
        if is_loopback(url) { &self.direct } else { &self.client }
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
        let mut outgoing = self.client_for(&url).request(method, url).timeout(limits.total_timeout);
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

#[cfg(test)]
mod tests;
