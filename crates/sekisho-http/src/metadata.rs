use bytes::Bytes;
use sekisho_core::ConfigError;
use url::Url;

use crate::address::is_loopback;

/// Tells clients of a protected resource where to get tokens for it
/// ([RFC 9728](https://www.rfc-editor.org/rfc/rfc9728)).
///
/// Given to a checkpoint, its URL stands in every challenge as `resource_metadata`, its path is public, and the
/// framework adapter has a route that serves it.
///
/// # Examples
/// ```
/// use sekisho_http::ProtectedResourceMetadata;
/// let metadata = ProtectedResourceMetadata::new("https://api.example/orders")
///     .with_authorization_server("https://id.example")
///     .with_scopes(["orders:read", "orders:write"])
///     .build()?;
/// assert_eq!(metadata.url(), "https://api.example/.well-known/oauth-protected-resource/orders");
/// assert_eq!(metadata.path(), "/.well-known/oauth-protected-resource/orders");
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProtectedResourceMetadata {
    resource: String,
    members: serde_json::Map<String, serde_json::Value>,
    urls: Vec<String>,
    page: Option<String>,
    scopes: Vec<String>,
}

impl ProtectedResourceMetadata {
    /// Starts from the resource's identifier: an https URL without query, fragment and percent signs, such as the one that
    /// clients call. `http` is taken for loopback addresses only.
    pub fn new(resource: impl Into<String>) -> Self {
        let (members, urls, scopes) = (serde_json::Map::new(), Vec::new(), Vec::new());
        Self { resource: resource.into(), members, urls, page: None, scopes }
    }

    /// Adds an issuer whose tokens are taken here.
    pub fn with_authorization_server(mut self, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        self.urls.push(issuer.clone());
        self.push("authorization_servers", issuer.into());
        self
    }

    /// Adds scopes that are used here.
    pub fn with_scopes<I: IntoIterator<Item = S>, S: Into<String>>(mut self, scopes: I) -> Self {
        for scope in scopes {
            let scope = scope.into();
            self.scopes.push(scope.clone());
            self.push("scopes_supported", scope.into());
        }
        self
    }

    /// Sets the name shown to people.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        self.with_member("resource_name", name.into())
    }

    /// Sets the page for developers.
    pub fn with_documentation(mut self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.page = Some(url.clone());
        self.with_member("resource_documentation", url)
    }

    /// Sets any other member, as it stands. `resource` cannot be replaced.
    pub fn with_member(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says which proofs of possession are taken, unless the owner has said so ([RFC 9728 §2]).
    ///
    /// [RFC 9728 §2]: https://www.rfc-editor.org/rfc/rfc9728#section-2
    pub(crate) fn with_proofs(mut self, dpop: Option<(&str, bool)>, certificates: bool) -> Self {
        let mut add = |name: &str, value| {
            self.members.entry(name).or_insert(value);
        };
        if let Some((algorithms, is_required)) = dpop {
            add("dpop_signing_alg_values_supported", algorithms.split(' ').collect());
            if is_required {
                add("dpop_bound_access_tokens_required", true.into());
            }
        }
        if certificates {
            add("tls_client_certificate_bound_access_tokens", true.into());
        }
        self
    }

    /// Checks the values and writes the document.
    ///
    /// # Errors
    /// When the resource or another URL is not one that can be published, or a scope is not one
    /// ([RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3)).
    pub fn build(self) -> Result<MetadataDocument, ConfigError> {
        let Self { resource, mut members, urls, page, scopes } = self;
        for url in &urls {
            parse(url)?;
        }
        if let Some(page) = &page {
            check_page(page)?;
        }
        if let Some(scope) = scopes.iter().find(|s| !is_scope(s)) {
            return Err(ConfigError::new(format!("{scope:?} is not a scope")));
        }
        let (origin, path) = split(&resource)?;
        // RFC 9728 §3.1: a lone slash after the host goes; the rest of the path is kept as it is.
        let path = format!("{WELL_KNOWN}{}", if path == "/" { "" } else { path });
        let url = format!("{origin}{path}");
        members.entry("bearer_methods_supported").or_insert_with(|| serde_json::json!(["header"]));
        members.insert("resource".into(), resource.into());
        let json = serde_json::Value::Object(members).to_string().into();
        Ok(MetadataDocument { url, path, json })
    }

    fn push(&mut self, name: &str, value: serde_json::Value) {
        let list = self.members.entry(name).or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if let serde_json::Value::Array(list) = list {
            list.push(value);
        }
    }
}

/// Is a finished metadata document, and where it must be served.
#[derive(Clone, Debug)]
pub struct MetadataDocument {
    url: String,
    path: String,
    json: Bytes,
}

impl MetadataDocument {
    /// Returns the URL that clients fetch.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the path of that URL: `/.well-known/oauth-protected-resource` and the resource's own path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the document, of type `application/json`. A clone costs a counter.
    #[must_use]
    pub const fn json(&self) -> &Bytes {
        &self.json
    }
}

/// Parses what may be published as the identifier of a server.
fn parse(url: &str) -> Result<Url, ConfigError> {
    let refuse = || {
        // The text stays out: a URL with a user in it may hold a password.
        ConfigError::new(
            "a URL in the metadata must be https (http on loopback only), without user, query and fragment",
        )
    };
    let parsed = Url::parse(url).map_err(|_| refuse())?;
    let trusted = parsed.scheme() == "https" || (parsed.scheme() == "http" && is_loopback(&parsed));
    let bare = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    // A parser forgives white space, control characters and backslashes; who compares texts does not.
    let plain = url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>'));
    if trusted && bare && plain { Ok(parsed) } else { Err(refuse()) }
}

/// Splits a resource's identifier into origin and path.
fn split(url: &str) -> Result<(&str, &str), ConfigError> {
    let parsed = parse(url)?;
    // In its normal form already: no dots to resolve, no default port, no host in capitals.
    let is_normal = parsed.as_str() == url || parsed.as_str().strip_suffix('/') == Some(url);
    let start = parsed.as_str().len() - parsed.path().len();
    let parts = url.split_at_checked(start).filter(|(_, path)| {
        // Frameworks decode percent signs before they compare, and take braces, colons and stars for patterns.
        is_normal && !path.contains(['%', '{', '}', '*']) && !path.contains("/:") && !path.contains("//")
    });
    parts.ok_or_else(|| {
        ConfigError::new("the resource must be a URL in its normal form, its path without percent signs and patterns")
    })
}

/// Checks a page for people: query and fragment are welcome.
fn check_page(url: &str) -> Result<(), ConfigError> {
    let is_page = Url::parse(url).is_ok_and(|parsed| {
        matches!(parsed.scheme(), "https" | "http") && parsed.username().is_empty() && parsed.password().is_none()
    });
    if is_page { Ok(()) } else { Err(ConfigError::new("the documentation must be an http or https URL without user")) }
}

fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn stands_between_host_and_path() {
        for (resource, path) in [
            ("https://api.example", ""),
            ("https://api.example/", ""),
            ("https://api.example/orders", "/orders"),
            ("https://api.example:8443/a/b/", "/a/b/"),
            ("http://127.0.0.1:8080/a", "/a"),
            ("http://[::1]:8080/a", "/a"),
        ] {
            let built = ProtectedResourceMetadata::new(resource).build().unwrap();
            assert_eq!(built.path(), format!("{WELL_KNOWN}{path}"));
            let origin = resource.strip_suffix(path).unwrap().trim_end_matches('/');
            assert_eq!(built.url(), format!("{origin}{WELL_KNOWN}{path}"));
        }
    }

    #[test]
    fn writes_the_document() {
        let built = ProtectedResourceMetadata::new("https://api.example")
            .with_authorization_server("https://id.example")
            .with_authorization_server("https://id2.example/realms/a")
            .with_scopes(["orders:read"])
            .with_name("Orders")
            .with_member("resource", "https://evil.example")
            .build()
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(built.json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "resource": "https://api.example",
                "authorization_servers": ["https://id.example", "https://id2.example/realms/a"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["orders:read"],
                "resource_name": "Orders",
            })
        );
    }

    #[test]
    fn refuses_values_that_cannot_be_published() {
        for resource in [
            "",
            "api.example",
            "http://api.example",
            "ftp://api.example",
            "https://",
            "https:///a",
            "https://a.example?x",
            "https://a.example/#x",
            "https://u@a.example",
            "https://a.example/\r\nx",
            "https://a.example/\"",
            "https://ü.example",
            "http://localhost.evil.example",
            "https://a.example/{id}",
            "https://a.example/:id",
            "http://[::1].evil.example/x",
            "https://a.example:99999/x",
            "https://a.example:443/x",
            "https://A.example/x",
            "https://a.example/a/./b",
            "https://a.example/a/../b",
            "https://a.example/a//b",
            "https://a.example/caf%C3%A9",
            "https://a.example/%zz",
        ] {
            assert!(ProtectedResourceMetadata::new(resource).build().is_err(), "{resource:?}");
        }
        let secret = ProtectedResourceMetadata::new("https://u:hunter2@a.example").build().unwrap_err();
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
        let base = || ProtectedResourceMetadata::new("https://a.example");
        assert!(base().with_authorization_server("http://id.example").build().is_err());
        assert!(base().with_documentation("javascript:alert(1)").build().is_err());
        assert!(base().with_documentation("https://u:p@docs.example").build().is_err());
        assert!(base().with_documentation("https://docs.example/orders?v=2#tokens").build().is_ok());
        assert!(base().with_scopes(["a b"]).build().is_err());
        assert!(base().with_scopes([""]).build().is_err());
    }
}
