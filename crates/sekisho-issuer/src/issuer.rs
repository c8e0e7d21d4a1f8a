use sekisho_core::ConfigError;
use url::Url;

use crate::redirect::is_loopback;

/// Is the issuer's name, a URL, and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct IssuerName {
    name: String,
    /// `https://host[:port]`
    origin: String,
    /// Empty, or begins with a slash and does not end with one.
    path: String,
    is_secure: bool,
}

impl IssuerName {
    pub(crate) fn parse(name: &str) -> Result<Self, ConfigError> {
        let refuse = || {
            ConfigError::new(format!(
                "issuer {name:?} must be an https URL without query, fragment and final slash (http on this machine only)"
            ))
        };
        let url = Url::parse(name).map_err(|_| refuse())?;
        let origin = url.origin().ascii_serialization();
        let path = name.strip_prefix(&origin).ok_or_else(refuse)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let fits = path.is_empty()
            || (path.starts_with('/') && !path.ends_with('/') && path.bytes().all(plain) && url.path() == path);
        let is_secure = url.scheme() == "https";
        if !fits
            || path.contains("//")
            || name.len() > 512
            || !(is_secure || url.scheme() == "http" && is_loopback(&url))
        {
            return Err(refuse());
        }
        Ok(Self { name: name.to_owned(), origin, path: path.to_owned(), is_secure })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Returns the URL of an endpoint.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.name)
    }

    /// Returns the path of an endpoint.
    pub(crate) fn route(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_cannot_be_an_issuer() {
        for bad in [
            "",
            "id.example",
            "http://id.example",
            "https://id.example/",
            "https://id.example/a/",
            "https://id.example//a",
            "https://id.example/a/../b",
            "https://id.example/{a}",
            "https://id.example/:a",
            "https://id.example?x",
            "https://id.example#x",
            "https://u@id.example",
            "https://ID.example",
            "https://id.example:443",
            "ftp://id.example",
        ] {
            assert!(IssuerName::parse(bad).is_err(), "{bad:?}");
        }
        for good in [
            "https://id.example",
            "https://id.example:8443/realms/shop",
            "http://127.0.0.1:3000",
            "http://localhost:1/a",
        ] {
            assert_eq!(IssuerName::parse(good).unwrap().as_str(), good);
        }
    }
}
