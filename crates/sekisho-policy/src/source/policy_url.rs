use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Secret, UnixSeconds};
use sekisho_http::HttpClient;

use super::download::{Download, Downloaded};
use super::{Loaded, PolicyFiles, PolicySource};

/// Loads one file of policies, as it is written, from a URL, and asks with its `ETag` whether there is a new one. Redirects
/// are not followed.
///
/// Nothing but the connection vouches for what comes: whoever can change the file at the URL decides. A signed bundle
/// (feature `bundle`) does not trust the server that it lies on.
///
/// ```no_run
/// # #[cfg(all(feature = "cedar", feature = "reqwest"))] {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sekisho_core::ConfigError;
/// use sekisho_http::ReqwestClient;
/// use sekisho_policy::cedar::CedarPolicies;
/// use sekisho_policy::source::{Live, PolicyUrl};
///
/// # async fn start(schema: String) -> Result<(), Box<dyn std::error::Error>> {
/// let client = Arc::new(ReqwestClient::new(Duration::from_secs(1))?);
/// let url = PolicyUrl::new("https://policies.example/shop.cedar", "shop.cedar", client)?;
/// let cedar = CedarPolicies::builder(schema).with_issuer("https://id.example");
/// let live = Live::builder(url, move |files| match files.get("shop.cedar") {
///     Some(text) => cedar.clone().with_revision(files.revision_or_digest()).build(text),
///     None => Err(ConfigError::new("no policies")),
/// });
/// let live = live.build().await?;
/// tokio::spawn(live.run());
/// # Ok(()) }
/// # }
/// ```
#[derive(Debug)]
pub struct PolicyUrl {
    download: Download,
    name: Box<str>,
    max_bytes: usize,
}

impl PolicyUrl {
    /// Names the URL, `https` or on this machine, and the name that the file has among [`PolicyFiles`]: `shop.rego`.
    ///
    /// # Errors
    /// [`ConfigError`] for another URL, or a name that is no relative path.
    pub fn new(url: impl Into<String>, name: &str, client: Arc<dyn HttpClient>) -> Result<Self, ConfigError> {
        PolicyFiles::new().with_file(name, "")?;
        let download = Download::new(url.into(), "the file of policies", "text/plain, */*", client)?;
        Ok(Self { download, name: name.into(), max_bytes: 4 << 20 })
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

    /// Sets how many bytes the file may have. Default 4 MiB.
    #[must_use]
    pub const fn with_max_bytes(mut self, most: usize) -> Self {
        self.max_bytes = most;
        self
    }
}

#[async_trait]
impl PolicySource for PolicyUrl {
    async fn load(&self, tag: Option<&str>, _: UnixSeconds) -> Result<Loaded, ConfigError> {
        match self.download.load(tag, self.max_bytes).await? {
            Downloaded::Unchanged => Ok(Loaded::Unchanged),
            Downloaded::New { body, .. } if body.len() > self.max_bytes => {
                Err(ConfigError::new(format!("the file of policies has more than {} bytes", self.max_bytes)))
            }
            // Of an upload that has just begun; no policies at all would be a set that permits nothing.
            Downloaded::New { body, .. } if body.is_empty() => Err(ConfigError::new("the file of policies is empty")),
            Downloaded::New { body, tag } => {
                Ok(Loaded::Files { files: PolicyFiles::new().with_file(&self.name, body)?, tag })
            }
        }
    }
}
