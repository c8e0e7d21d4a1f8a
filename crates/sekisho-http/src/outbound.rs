use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "reqwest")]
mod reqwest_client;

#[cfg(feature = "reqwest")]
pub use reqwest_client::ReqwestClient;

/// Sends one HTTP request to a server that the configuration named.
///
/// The seam for proxies, private certificate authorities, client certificates and tests.
///
/// Contract for implementers:
/// - Redirects are never followed: a 3xx answer is returned as it is.
/// - The limits hold: reading stops, with [`HttpError::TooLarge`], when the decoded body passes
///   `max_body_bytes`, also when the server compressed it; no answer within `total_timeout` is [`HttpError::Timeout`].
/// - Any status is an `Ok`; an `Err` means that there is no whole answer.
/// - Nothing is retried. Dropping the future ends the exchange.
#[async_trait]
pub trait HttpClient: Send + Sync + fmt::Debug {
    /// Sends `request` and returns the whole answer.
    ///
    /// # Errors
    /// [`HttpError`] when no whole answer came within the limits.
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError>;
}

/// Bounds one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Time to reach the server. Default 1 s. A client that can only be told so when it is made, as [`ReqwestClient`],
    /// keeps what it was told then.
    pub connect_timeout: Duration,
    /// Time for all of it, connecting included. Default 5 s.
    pub total_timeout: Duration,
    /// Bytes of the decoded body. Default 150,000.
    pub max_body_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(1), total_timeout: Duration::from_secs(5), max_body_bytes: 150_000 }
    }
}

/// Names a request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpMethod {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

/// Is a request to be sent. `Debug` shows the method and the URL without its query; headers and
/// body may hold secrets.
#[derive(Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: HttpMethod,
    /// The absolute URL.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body, empty for none.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Asks for a URL.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: HttpMethod::Get, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        write!(f, "HttpRequest({:?} {url})", self.method)
    }
}

/// Is a whole answer. `Debug` shows the status and the length.
#[derive(Clone)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values; values that are not visible ASCII are left out.
    pub headers: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Returns the first header of this name, given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({}, {} bytes)", self.status, self.body.len())
    }
}

/// Says why there is no whole answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The server could not be reached: name, connection, TLS.
    #[error("the server could not be reached")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The body is longer than allowed.
    #[error("the answer is larger than allowed")]
    TooLarge,
    /// The URL cannot be used.
    #[error("not a usable URL")]
    Url,
    /// The answer broke off or is not HTTP.
    #[error("the answer broke off or is not HTTP")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}
