use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::ConfigError;
use tokio::runtime::Handle;

use super::cache::{Cache, Loaded, Tag};
use super::context::{IntoKeySource, SourceContext};
use super::load::{Load, LoadError};
use super::managed::Managed;
use super::policy::Policy;
use super::snapshot::Nameless;
use super::told::{Skips, escaped};
use crate::{Backend, KeyError, KeySet, KeySetError, KeySource, VerifyingKey};

/// Bounds an attempt to read the file, for file systems that hang.
const READ_BUDGET: Duration = Duration::from_secs(5);

/// Reads keys from a file and follows its changes.
///
/// The file holds a JWK set, or one PEM public key or certificate (a member `issuer` of a key is not
/// looked at); at most [`KeySet::MAX_BYTES`]. It must be there and good when the source is
/// built. Later it is read again every 5 s in the background, and when a token's `kid` is not in it, at most once in that time; what is
/// compared is its content, so every way of replacing it works. While it is missing or broken the keys of the last good one
/// stay, with [`KeyHealth::Stale`](crate::KeyHealth::Stale), a warning, and 503 rather than a refusal for an unknown `kid`. Keys whose
/// private half stands in the file die all the same, and are not taken again when only their public half is left in it, before
/// the source is built anew; a PEM file with a private key, whichever it is, ends the trust in the key at hand.
///
/// A key that is no longer in the file dies when that is read. Without a tokio runtime the file is read again only for an unknown `kid`.
///
/// # Examples
/// ```no_run
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_jwks::{Backend, FileKeys, IntoKeySource, SourceContext};
///
/// let keys = FileKeys::new("/etc/orders/keys.json").into_key_source(&SourceContext::new(Backend::default()))?;
/// # }
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FileKeys {
    path: PathBuf,
    interval: Duration,
}

impl FileKeys {
    /// Names the file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interval: Duration::from_secs(5) }
    }

    /// Sets how often the file is read, default every 5 s; at least 1 s.
    pub fn with_check_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}

impl IntoKeySource for FileKeys {
    /// # Errors
    /// [`ConfigError`]: the interval is below one second, or the file cannot be read, is too long or holds no usable key.
    fn into_key_source(self, context: &SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> {
        let Self { path, interval } = self;
        if interval < Duration::from_secs(1) {
            return Err(ConfigError::new("the interval of checks of the key file is below one second"));
        }
        let policy = Policy {
            refresh_ahead: Duration::ZERO,
            stale_bound: Duration::MAX,
            miss_interval: interval,
            miss_memory: Duration::ZERO,
            retry_first: interval,
            retry_longest: interval,
            budget: READ_BUDGET,
            nameless: Nameless::Use,
        };
        let shown = escaped(&path.display().to_string());
        let reader = Reader { shown, path, interval, backend: context.backend, skips: Skips::default() };
        let cache = Cache::new(policy);
        let loaded = reader.read(None).map_err(|error| {
            ConfigError::new(format!("the key file {} cannot be used", reader.shown)).with_source(error)
        })?;
        if let Some(permit) = cache.begin_if_due(context.clock.now()) {
            let admitted =
                permit.admit(loaded).map_err(|error| ConfigError::new("no usable key").with_source(error))?;
            permit.succeed(admitted, 0);
        }
        let loader = FileLoad { reader: Arc::new(reader), reading: Arc::default() };
        Ok(Managed::new(cache, Arc::new(loader), Arc::clone(&context.clock)))
    }
}

#[derive(Debug)]
struct FileLoad {
    reader: Arc<Reader>,
    /// Held by a read that runs, so that reads of a file system that hangs do not pile up.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Reader {
    path: PathBuf,
    shown: String,
    interval: Duration,
    backend: Backend,
    skips: Skips,
}

#[async_trait]
impl Load for FileLoad {
    async fn load(&self, tag: Option<Arc<Tag>>) -> Result<Loaded, LoadError> {
        let reading = Arc::clone(&self.reading).try_lock_owned().map_err(|_| LoadError::Timeout)?;
        let reader = Arc::clone(&self.reader);
        let read = move || {
            let _reading = reading;
            reader.read(tag.as_deref())
        };
        match Handle::try_current() {
            Ok(runtime) => match runtime.spawn_blocking(read).await {
                Ok(loaded) => loaded,
                Err(ended) => Err(LoadError::File(std::io::Error::other(ended))),
            },
            Err(_) => read(),
        }
    }

    fn origin(&self) -> &str {
        &self.reader.shown
    }
}

impl Reader {
    fn read(&self, tag: Option<&Tag>) -> Result<Loaded, LoadError> {
        let content = read_bounded(&self.path)?;
        if tag.is_some_and(|tag| tag.value == content) {
            return Ok(Loaded::Unchanged { ttl: self.interval });
        }
        let set = self.parse(&content)?;
        let tag = Some(Tag { origin: self.shown.clone(), value: content });
        Ok(Loaded::Keys { keys: set.keys().to_vec(), leaked: set.leaked().to_vec(), tag, ttl: self.interval })
    }

    fn parse(&self, content: &[u8]) -> Result<KeySet, LoadError> {
        if content.trim_ascii_start().starts_with(b"-----BEGIN") {
            return match VerifyingKey::from_pem(self.backend, content) {
                Ok(key) => Ok(KeySet::from_keys([key])),
                Err(KeyError::PrivateKey) => Err(LoadError::PrivateKeyFile),
                Err(error) => Err(error.into()),
            };
        }
        let set = KeySet::parse(self.backend, content)?;
        self.skips.tell(&self.shown, set.skipped());
        if set.keys().is_empty() { Err(LoadError::no_usable_key(&set)) } else { Ok(set) }
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, LoadError> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(LoadError::File)?.is_file() {
        return Err(LoadError::NotAFile);
    }
    let mut content = Vec::new();
    let limit = KeySet::MAX_BYTES as u64 + 1;
    File::open(path).map_err(LoadError::File)?.take(limit).read_to_end(&mut content).map_err(LoadError::File)?;
    if content.len() > KeySet::MAX_BYTES { Err(KeySetError::TooLarge.into()) } else { Ok(content) }
}
