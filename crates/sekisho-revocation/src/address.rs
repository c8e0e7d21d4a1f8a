//! Which addresses may be asked.

use sekisho_core::ConfigError;
use url::{Host, Url};

/// Bounds an address, in bytes.
const LONGEST: usize = 2048;

/// Checks an address of the configuration: `https`, or `http` to this machine; no user info, no fragment.
///
/// The parser is the one that the default client sends with, so both mean the same host.
pub(crate) fn check(text: &str) -> Result<Url, ConfigError> {
    let refuse = |why: &str| Err(ConfigError::new(format!("the address {} {why}", shown(text))));
    // The parser would drop tabs and line ends and turn `\` into `/`.
    if text.len() > LONGEST || !text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\') {
        return refuse("is longer than 2,048 bytes, or not made of visible ASCII characters");
    }
    let Ok(url) = Url::parse(text) else { return refuse("is not an absolute URL") };
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if authority.is_none_or(|authority| authority.contains('@')) {
        return refuse("holds a user name, or no host");
    }
    if url.fragment().is_some() {
        return refuse("holds a fragment");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => refuse("is not `https`; plain `http` is for 127.0.0.0/8, ::1 and localhost only"),
    }
}

/// Writes an address without query, fragment, user name and password, cut and on one line.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |colon| colon + 3));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    [scheme, host, path].concat().escape_debug().take(200).collect()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_leak_or_mislead() {
        for bad in [
            "http://id.example/feed",
            "http://localhost.id.example/",
            "http://169.254.169.254/",
            "ftp://localhost/feed",
            "file:///etc/passwd",
            "https://user:word@id.example/",
            "https://@id.example/",
            "https://id.example/#a",
            "https://id.example\\@evil.example/",
            "https://id.exa\tmple/",
            "https://id.example/\r\nhost: a",
            "https:id.example",
            "https://",
            "/feed",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&format!("https://id.example/{}", "a".repeat(LONGEST))).is_err());
        for good in
            ["https://id.example/feed?tenant=1", "http://127.0.0.1:8080/feed", "http://[::1]/", "http://localhost/"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn shows_nothing_that_may_be_secret() {
        assert_eq!(shown("https://user:hush@id.example/feed?key=hush#hush"), "https://id.example/feed");
        let error = check("http://user:hush@id.example/feed?key=hush").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
    }
}
