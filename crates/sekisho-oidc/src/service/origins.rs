use std::fmt;

use sekisho_core::ConfigError;
use sekisho_http::address::{self, UrlError};
use url::Url;

/// Is the list of servers to which a token may go: scheme, host and port, each exactly.
///
/// # Examples
/// ```
/// use sekisho_oidc::AllowedOrigins;
/// let origins = AllowedOrigins::new(["https://stock.example", "https://billing.example:8443"])?;
/// # let _ = origins;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct AllowedOrigins(Vec<Origin>);

/// Is where a request goes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: Box<str>,
    host: Box<str>,
    port: u16,
}

impl AllowedOrigins {
    /// Lists origins such as `https://stock.example`: without path, query or user name; `http` to this machine only.
    ///
    /// # Errors
    /// [`ConfigError`] for one that is none of these.
    pub fn new<'o>(origins: impl IntoIterator<Item = &'o str>) -> Result<Self, ConfigError> {
        origins.into_iter().map(|text| Origin::parse(text, false)).collect::<Result<_, _>>().map(Self)
    }

    /// Adds an origin to which tokens go in the clear: whoever is on the way there can take and use them, unless something below
    /// encrypts, such as a mesh.
    ///
    /// # Errors
    /// [`ConfigError`] for what is no origin.
    pub fn dangerous_with_plain_http(mut self, origin: &str) -> Result<Self, ConfigError> {
        self.0.push(Origin::parse(origin, true)?);
        Ok(self)
    }

    #[cfg(any(feature = "tower", feature = "reqwest-middleware"))]
    pub(super) fn contains(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }
}

impl Origin {
    pub(super) fn parse(text: &str, is_plain_allowed: bool) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new(format!("`{}` is no origin to send tokens to", address::shown(text)));
        let url = match address::check(text) {
            Ok(url) => url,
            // The checks before the one for the scheme are past.
            Err(UrlError::Insecure) if is_plain_allowed => Url::parse(text).map_err(|_| wrong())?,
            Err(e) => return Err(wrong().with_source(e)),
        };
        if url.path() != "/" || url.query().is_some() {
            return Err(wrong());
        }
        Self::of(&url).ok_or_else(wrong)
    }

    /// Reads where a URL leads; `None` for other schemes, and for one with a user name, which can be read in two ways.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let is_plain = url.username().is_empty() && url.password().is_none();
        Self::new(url.scheme(), url.host_str().filter(|_| is_plain)?, url.port())
    }

    pub(super) fn new(scheme: &str, host: &str, port: Option<u16>) -> Option<Self> {
        let default = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        Some(Self { scheme: scheme.into(), host: host.to_ascii_lowercase().into(), port: port.unwrap_or(default) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match (&**scheme, port) {
            ("https", 443) | ("http", 80) => write!(f, "{scheme}://{host}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

impl fmt::Debug for AllowedOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|origin| format_args!("{origin}").to_string())).finish()
    }
}
