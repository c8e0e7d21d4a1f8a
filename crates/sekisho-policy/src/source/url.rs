use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Secret, UnixSeconds};
use sekisho_http::{HttpClient, HttpLimits, HttpRequest, address};

use super::folder::read_bounded;
use super::{Loaded, PolicySource};
use crate::bundle::BundleReader;

/// Loads a bundle from a URL, and asks with its `ETag` whether there is a new one. Redirects are not followed.
pub struct BundleUrl {
    url: String,
    reader: BundleReader,
    client: Arc<dyn HttpClient>,
    authorization: Option<Secret>,
    timeout: Duration,
}

impl BundleUrl {
    /// Names the URL, `https` or on this machine.
    ///
    /// # Errors
    /// [`ConfigError`] for another URL.
    pub fn new(url: impl Into<String>, reader: BundleReader, client: Arc<dyn HttpClient>) -> Result<Self, ConfigError> {
        let url = url.into();
        address::check(&url)
            .map_err(|error| ConfigError::new("the URL of the bundle cannot be used").with_source(error))?;
        Ok(Self { url, reader, client, authorization: None, timeout: Duration::from_secs(30) })
    }

    /// Sends this as the header `authorization`, such as `Bearer …`.
    #[must_use]
    pub fn with_authorization(mut self, value: impl Into<Secret>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Sets how long a download may take. Default 30 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[async_trait]
impl PolicySource for BundleUrl {
    async fn load(&self, tag: Option<&str>, now: UnixSeconds) -> Result<Loaded, ConfigError> {
        let mut request =
            HttpRequest::get(&self.url).with_header("accept", "application/gzip, application/octet-stream");
        if let Some(value) = &self.authorization {
            let value =
                value.expose_str().ok_or_else(|| ConfigError::new("the authorization for the bundle is no text"))?;
            request = request.with_header("authorization", value);
        }
        if let Some(tag) = tag {
            request = request.with_header("if-none-match", tag);
        }
        let max_body_bytes = self.reader.limits().max_packed_bytes;
        let limits = HttpLimits { total_timeout: self.timeout, max_body_bytes, ..HttpLimits::default() };
        let response = self
            .client
            .send(request, limits)
            .await
            .map_err(|error| ConfigError::new("the bundle cannot be downloaded").with_source(error))?;
        match response.status {
            304 if tag.is_some() => Ok(Loaded::Unchanged),
            200 => {
                let files = read(&self.reader, &response.body, now).await?;
                let tag = response.header("etag").filter(|etag| is_etag(etag)).map(ToOwned::to_owned);
                Ok(Loaded::Files { files, tag })
            }
            status => Err(ConfigError::new(format!("the bundle cannot be downloaded: status {status}"))),
        }
    }
}

impl fmt::Debug for BundleUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleUrl")
            .field("url", &address::without_query(&self.url))
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

/// Reads a bundle from a file.
#[derive(Clone, Debug)]
pub struct BundleFile {
    path: PathBuf,
    reader: BundleReader,
}

impl BundleFile {
    /// Names the file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, reader: BundleReader) -> Self {
        Self { path: path.into(), reader }
    }
}

#[async_trait]
impl PolicySource for BundleFile {
    async fn load(&self, _tag: Option<&str>, now: UnixSeconds) -> Result<Loaded, ConfigError> {
        let content = read_bounded(&self.path, self.reader.limits().max_packed_bytes)
            .map_err(|error| ConfigError::new("the file of the bundle cannot be read").with_source(error))?;
        Ok(Loaded::Files { files: read(&self.reader, &content, now).await?, tag: None })
    }
}

async fn read(reader: &BundleReader, archive: &[u8], now: UnixSeconds) -> Result<super::PolicyFiles, ConfigError> {
    reader.read(archive, now).await.map_err(|error| ConfigError::new("the bundle is refused").with_source(error))
}

fn is_etag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let is_quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
    text.len() <= 256 && is_quoted && opaque.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}
