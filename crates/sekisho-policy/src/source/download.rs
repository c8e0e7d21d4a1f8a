use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, Secret};
use sekisho_http::{HttpClient, HttpLimits, HttpRequest, address};

/// Loads something from a URL, and asks with its `ETag` whether there is something new. Redirects are not followed.
pub(super) struct Download {
    url: String,
    /// How errors name it.
    what: &'static str,
    accept: &'static str,
    client: Arc<dyn HttpClient>,
    pub(super) authorization: Option<Secret>,
    pub(super) timeout: Duration,
}

/// Is what a download brought.
pub(super) enum Downloaded {
    /// What has this tag is current.
    Unchanged,
    New {
        body: Vec<u8>,
        tag: Option<String>,
    },
}

impl Download {
    pub(super) fn new(
        url: String,
        what: &'static str,
        accept: &'static str,
        client: Arc<dyn HttpClient>,
    ) -> Result<Self, ConfigError> {
        address::check(&url)
            .map_err(|error| ConfigError::new(format!("the URL of {what} cannot be used")).with_source(error))?;
        Ok(Self { url, what, accept, client, authorization: None, timeout: Duration::from_secs(30) })
    }

    pub(super) async fn load(&self, tag: Option<&str>, max_body_bytes: usize) -> Result<Downloaded, ConfigError> {
        let Self { url, what, accept, client, authorization, timeout } = self;
        let mut request = HttpRequest::get(url).with_header("accept", *accept);
        if let Some(value) = authorization {
            let value = value.expose_str();
            let value = value.ok_or_else(|| ConfigError::new(format!("the authorization for {what} is no text")))?;
            request = request.with_header("authorization", value);
        }
        if let Some(tag) = tag {
            request = request.with_header("if-none-match", tag);
        }
        let limits = HttpLimits { total_timeout: *timeout, max_body_bytes, ..HttpLimits::default() };
        let failed = || format!("{what} cannot be downloaded");
        let response = client.send(request, limits).await;
        let response = response.map_err(|error| ConfigError::new(failed()).with_source(error))?;
        match response.status {
            304 if tag.is_some() => Ok(Downloaded::Unchanged),
            200 => {
                let tag = response.header("etag").filter(|etag| is_etag(etag)).map(ToOwned::to_owned);
                Ok(Downloaded::New { body: response.body, tag })
            }
            status => Err(ConfigError::new(format!("{}: status {status}", failed()))),
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(address::without_query(&self.url))
    }
}

fn is_etag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let is_quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
    text.len() <= 256 && is_quoted && opaque.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}
