use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Secret, UnixSeconds};
use sekisho_http::HttpClient;

use super::download::{Download, Downloaded};
use super::folder::read_bounded;
use super::{Loaded, PolicySource};
use crate::bundle::BundleReader;

/// Loads a bundle from a URL, and asks with its `ETag` whether there is a new one. Redirects are not followed.
#[derive(Debug)]
pub struct BundleUrl {
    download: Download,
    reader: BundleReader,
}

impl BundleUrl {
    /// Names the URL, `https` or on this machine.
    ///
    /// # Errors
    /// [`ConfigError`] for another URL.
    pub fn new(url: impl Into<String>, reader: BundleReader, client: Arc<dyn HttpClient>) -> Result<Self, ConfigError> {
        let accept = "application/gzip, application/octet-stream";
        Ok(Self { download: Download::new(url.into(), "the bundle", accept, client)?, reader })
    }

    /// Sends this as the header `authorization`, such as `Bearer …`.
    #[must_use]
    pub fn with_authorization(mut self, value: impl Into<Secret>) -> Self {
        self.download.authorization = Some(value.into());
        self
    }

    /// Sets how long a download may take. Default 30 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.download.timeout = timeout;
        self
    }
}

#[async_trait]
impl PolicySource for BundleUrl {
    async fn load(&self, tag: Option<&str>, now: UnixSeconds) -> Result<Loaded, ConfigError> {
        match self.download.load(tag, self.reader.limits().max_packed_bytes).await? {
            Downloaded::Unchanged => Ok(Loaded::Unchanged),
            Downloaded::New { body, tag } => Ok(Loaded::Files { files: read(&self.reader, &body, now).await?, tag }),
        }
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
