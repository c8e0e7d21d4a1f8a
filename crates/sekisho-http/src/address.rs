//! Which addresses may be asked for keys, tokens or decisions: of servers that a configuration names, or that such a server names.

use std::net::IpAddr;

use url::{Host, Url};

/// Bounds an address in bytes.
const MAX_URL: usize = 2048;

/// Says why an address is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Too long.
    #[error("longer than {MAX_URL} bytes")]
    TooLong,
    /// Not an absolute URL, or with characters that parsers read in different ways.
    #[error("not an absolute URL of visible ASCII characters")]
    Malformed,
    /// Would be asked in the clear, over a network.
    #[error("not `https`; plain `http` is for 127.0.0.0/8, ::1 and localhost only")]
    Insecure,
    /// `https://user:password@…`
    #[error("holds a user name or password")]
    UserInfo,
    /// `…#fragment`
    #[error("holds a fragment")]
    Fragment,
    /// `…?query`, where none may be.
    #[error("holds a query")]
    Query,
    /// A remote server sends us to ourselves.
    #[error("points to this machine, though the issuer is elsewhere")]
    Loopback,
}

/// Checks an address: `https`, or `http` to this machine; no user info, no fragment.
///
/// Parsed by the parser that the default client sends with, so both mean the same host.
///
/// # Errors
/// The first of [`UrlError`]'s cases that holds, queries and loopback left aside.
pub fn check(text: &str) -> Result<Url, UrlError> {
    if text.len() > MAX_URL {
        return Err(UrlError::TooLong);
    }
    // The parser would drop tabs and line ends and turn `\` into `/`.
    if !text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\') {
        return Err(UrlError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
    // It would also forgive one slash or none behind the scheme, and find the host where nobody looks for it.
    let rest = text.get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://")).ok_or(UrlError::Malformed)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() && matches!(url.scheme(), "https" | "http") {
        return Err(UrlError::Malformed);
    }
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(UrlError::Insecure),
    }
}

/// Checks an issuer: as [`check`], and no query ([RFC 8414 §2](https://www.rfc-editor.org/rfc/rfc8414#section-2)).
///
/// # Errors
/// As [`check`], then [`UrlError::Query`].
pub fn check_issuer(text: &str) -> Result<Url, UrlError> {
    let url = check(text)?;
    if url.query().is_some() { Err(UrlError::Query) } else { Ok(url) }
}

/// Cuts the query off, in which there may be a secret.
#[must_use]
pub fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

/// Writes an address that may be unchecked without query, fragment, user name and password.
#[must_use]
pub fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |colon| colon + 3));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{path}")
}

/// Tells whether plain `http` may be spoken there: `127.0.0.0/8`, `::1`, `localhost`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Tells whether an address leads to this machine by any of its spellings; wider than [`is_loopback`], for refusing.
#[must_use]
pub fn points_here(url: &Url) -> bool {
    let is_here = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    match url.host() {
        Some(Host::Ipv4(address)) => is_here(address.into()),
        Some(Host::Ipv6(address)) => is_here(address.to_canonical()),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn takes_https_and_plain_http_to_this_machine() {
        for good in [
            "https://id.example/keys",
            "https://id.example:8443/a?b=c",
            "http://127.0.0.1:8080/keys",
            "http://127.9.9.9/",
            "http://[::1]:1/",
            "http://localhost/realms/a",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_every_other_address() {
        for (bad, why) in [
            ("http://id.example/keys", UrlError::Insecure),
            ("http://localhost.id.example/", UrlError::Insecure),
            ("http://128.0.0.1/", UrlError::Insecure),
            ("http://169.254.169.254/latest", UrlError::Insecure),
            ("http://[::ffff:10.0.0.1]/", UrlError::Insecure),
            ("http://0.0.0.0/", UrlError::Insecure),
            ("file:///etc/passwd", UrlError::Insecure),
            ("ftp://localhost/keys", UrlError::Insecure),
            ("data://localhost/keys", UrlError::Insecure),
            ("https://user@id.example/", UrlError::UserInfo),
            ("https://user:word@id.example/", UrlError::UserInfo),
            ("https://@id.example/", UrlError::UserInfo),
            ("http://localhost@id.example/", UrlError::UserInfo),
            ("https://id.example/#a", UrlError::Fragment),
            ("https://id.example\\@evil.example/", UrlError::Malformed),
            ("https://id.exa\tmple/", UrlError::Malformed),
            ("https://id.example/\r\nhost: a", UrlError::Malformed),
            ("https://idé.example/", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            ("https:id.example", UrlError::Malformed),
            ("https:/id.example/a://b", UrlError::Malformed),
            ("https:id.example/a://b", UrlError::Malformed),
            ("https:///id.example/", UrlError::Malformed),
            ("/keys", UrlError::Malformed),
            ("", UrlError::Malformed),
        ] {
            assert_eq!(check(bad).err(), Some(why), "{bad:?}");
        }
        assert_eq!(check(&format!("https://id.example/{}", "a".repeat(MAX_URL))), Err(UrlError::TooLong));
    }

    #[test]
    fn knows_this_machine_by_every_spelling() {
        for here in [
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "[::]",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
        ] {
            assert!(points_here(&Url::parse(&format!("https://{here}/")).unwrap()), "{here}");
        }
        for elsewhere in ["id.example", "128.0.0.1", "localhost.example", "notlocalhost", "[fe80::1]"] {
            assert!(!points_here(&Url::parse(&format!("https://{elsewhere}/")).unwrap()), "{elsewhere}");
        }
    }

    #[test]
    fn shows_nothing_that_may_be_secret() {
        for (url, expected) in [
            ("https://id.example:1/keys?key=hush#hush", "https://id.example:1/keys"),
            ("https://user:hush@id.example/keys", "https://id.example/keys"),
            ("https://hush@hush@id.example", "https://id.example"),
            ("https://id.example/@a/b#hush?hush", "https://id.example/@a/b"),
            ("user:hush@id.example/a", "id.example/a"),
            ("?hush", ""),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn refuses_an_issuer_with_a_query() {
        assert_eq!(check_issuer("https://id.example/?a=b"), Err(UrlError::Query));
        assert!(check_issuer("https://id.example/realms/a").is_ok());
    }
}
