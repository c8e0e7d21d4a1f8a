//! The URL that a request was sent to, as its sender wrote it ([RFC 9449 §4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3)).

use std::borrow::Cow;

use sekisho_core::ConfigError;

/// Tells whether `htu` of a proof is the target of a request: one of `bases` with `path` behind it.
///
/// Query and fragment of `htu` do not count. Both sides are normalised by
/// [RFC 3986 §6.2.2 and §6.2.3](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2): letter case of scheme and host, default
/// ports, percent escapes and their letter case, dot segments, an empty path. What is no `http` or `https` URL, or has a
/// user in it, a broken escape or anything but visible ASCII, is the target of nothing.
///
/// - `bases`: as [`CheckpointBuilder::with_public_url`](crate::CheckpointBuilder::with_public_url) normalises them.
/// - `path`: of the request, without the query.
///
/// # Examples
/// ```
/// let bases = ["https://api.example".into()];
/// assert!(sekisho_http::is_target("HTTPS://API.example:443/%6frders?page=2", &bases, "/orders"));
/// assert!(!sekisho_http::is_target("https://api.example/orders/", &bases, "/orders"));
/// ```
#[must_use]
pub fn is_target(htu: &str, bases: &[Box<str>], path: &str) -> bool {
    // No URI holds anything else (RFC 3986 §2), in the parts that do not count either.
    if !htu.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    let end = htu.bytes().position(|b| matches!(b, b'?' | b'#')).unwrap_or(htu.len());
    let htu = htu.get(..end).unwrap_or_default();
    // The usual client writes the URL as it is. A path with an escape or a dot segment may have a shorter form.
    let plain =
        path.starts_with('/') && !path.contains("/.") && path.bytes().all(|b| b.is_ascii_graphic() && b != b'%');
    if plain && bases.iter().any(|base| htu.strip_prefix(&**base) == Some(path)) {
        return true;
    }
    let (Some(url), Some(path)) = (Url::parse(htu), normal_path(path)) else { return false };
    bases.iter().any(|base| url.is(base, &path))
}

/// Normalises the URL of a service, without a slash at the end.
pub(crate) fn base(url: &str) -> Result<Box<str>, ConfigError> {
    let refuse = || ConfigError::new(format!("{url:?} must be an http or https URL without user, query and fragment"));
    let Url { secure, host, port, path } = Url::parse(url).ok_or_else(refuse)?;
    let mut base = format!("{}://{host}", if secure { "https" } else { "http" });
    if let Some(port) = port {
        base.push_str(&format!(":{port}"));
    }
    base.push_str(path.trim_end_matches('/'));
    Ok(base.into())
}

/// Is a URL in parts that can be compared.
struct Url<'a> {
    secure: bool,
    /// In lower case.
    host: Cow<'a, str>,
    /// `None` for the default of the scheme.
    port: Option<u16>,
    path: String,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return None;
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The brackets of an IPv6 address hide its colons.
        let colon = authority.rfind(':').filter(|at| !authority.get(*at..).is_some_and(|rest| rest.contains(']')));
        let (host, port) = match colon {
            Some(at) => (authority.get(..at)?, authority.get(at + 1..)?),
            None => (authority, ""),
        };
        let port = match port {
            "" => None,
            digits if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        let port = port.filter(|port| *port != if secure { 443 } else { 80 });
        let path = if path.is_empty() { "/".to_owned() } else { normal_path(path)? };
        is_host(host).then(|| Self { secure, host: lower(host), port, path })
    }

    /// Tells whether it is this normalised base with this normalised path behind it.
    fn is(&self, base: &str, path: &str) -> bool {
        let Some(base) = Url::parse(base) else { return false };
        let prefix = base.path.trim_end_matches('/');
        self.secure == base.secure
            && self.host == base.host
            && self.port == base.port
            && self.path.strip_prefix(prefix) == Some(path)
    }
}

/// Takes names, IPv4 addresses and IPv6 addresses in brackets. Percent escapes have no place in the name of a host.
fn is_host(host: &str) -> bool {
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
        }
        None => !host.is_empty() && host.bytes().all(name),
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Normalises an absolute path; `None` if it is none, or has a broken escape or a byte that no URL has.
fn normal_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let unescaped = unescape(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for segment in unescaped.get(1..)?.split('/') {
        ends_in_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    if ends_in_folder {
        segments.push("");
    }
    Some(format!("/{}", segments.join("/")))
}

/// Decodes escapes of unreserved characters ([RFC 3986 §2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)), and writes the
/// others in upper case.
fn unescape(path: &str) -> Option<String> {
    let mut text = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let value = digit(high)? << 4 | digit(low)?;
                if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
                    text.push(char::from(value));
                } else {
                    text.push('%');
                    text.push(char::from(high.to_ascii_uppercase()));
                    text.push(char::from(low.to_ascii_uppercase()));
                }
            }
            b'?' | b'#' => return None,
            byte if byte.is_ascii_graphic() => text.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn bases(urls: &[&str]) -> Vec<Box<str>> {
        urls.iter().map(|url| base(url).unwrap()).collect()
    }

    #[test]
    fn takes_every_way_to_write_the_same_url() {
        let bases = bases(&["https://API.example:443/"]);
        for htu in [
            "https://api.example/a/b~c",
            "https://api.example:443/a/b~c",
            "https://api.example:/a/b~c",
            "HTTPS://Api.EXAMPLE/a/b~c",
            "https://api.example/a/b%7ec",
            "https://api.example/a/b%7Ec",
            "https://api.example/%61/b~c",
            "https://api.example/a/./b~c",
            "https://api.example/x/../a/b~c",
            "https://api.example/x/%2e%2E/a/b~c",
            "https://api.example/a/b~c?x=1",
            "https://api.example/a/b~c#f",
            "https://api.example/a/b~c?",
        ] {
            assert!(is_target(htu, &bases, "/a/b~c"), "{htu}");
            assert!(is_target(htu, &bases, "/a/b%7Ec"), "{htu}");
            assert!(is_target(htu, &bases, "/a/./b~c"), "{htu}");
        }
        assert!(is_target("https://api.example", &bases, "/"));
        assert!(is_target("https://api.example/", &bases, "/"));
        assert!(is_target("https://api.example?x", &bases, "/"));
        assert!(is_target("https://api.example/a%2fb", &bases, "/a%2Fb"), "escapes have no letter case");
    }

    #[test]
    fn refuses_what_no_uri_holds_also_in_the_query_and_the_fragment() {
        let bases = bases(&["https://api.example"]);
        for htu in [
            "https://api.example/orders?x\u{74f}",
            "https://api.example/orders#é",
            "https://api.example/orders?a b",
            "https://api.example/orders?\t",
            "https://api.example/orders?x\0",
        ] {
            assert!(!is_target(htu, &bases, "/orders"), "{htu:?}");
        }
    }

    #[test]
    fn refuses_every_other_url() {
        let bases = bases(&["https://api.example"]);
        for htu in [
            "http://api.example/a/b",
            "https://api.example:8443/a/b",
            "https://api.example:0/a/b",
            "https://api.example:4430/a/b",
            "https://api.example:x/a/b",
            "https://api.example:443:443/a/b",
            "https://api.example./a/b",
            "https://evil.example/a/b",
            "https://api.example.evil.example/a/b",
            "https://user@api.example/a/b",
            "https://api.example@evil.example/a/b",
            "https://api.example\\@evil.example/a/b",
            "https://%61pi.example/a/b",
            "https://api.example/a/b/",
            "https://api.example/a//b",
            "https://api.example/a/B",
            "https://api.example/a%2Fb",
            "https://api.example/a/b%",
            "https://api.example/a/b%0",
            "https://api.example/a/b%zz",
            "https://api.example/a/b ",
            " https://api.example/a/b",
            "https://api.example/a/b\n",
            "https://api.example/a/b\u{e9}",
            "https://api.example/a",
            "https:/api.example/a/b",
            "//api.example/a/b",
            "/a/b",
            "a/b",
            "",
            "ftp://api.example/a/b",
            "https:///a/b",
            "https://[]/a/b",
            "https://?/a/b",
        ] {
            assert!(!is_target(htu, &bases, "/a/b"), "{htu}");
        }
        assert!(!is_target("https://api.example/a/b", &[], "/a/b"), "no base, no target");
        for path in ["", "*", "api.example:443", "a/b", "/a/b?x", "/a/b#f", "/a/b%", "/a/\u{e9}", "/a/b\0"] {
            let htu = format!("https://api.example{path}");
            assert!(!is_target(&htu, &bases, path) || path.is_empty(), "{path:?}");
            assert!(!is_target("https://api.example/a/b", &bases, path), "{path:?}");
        }
        assert!(!is_target("https://api.example", &bases, ""), "a path begins with a slash");
    }

    #[test]
    fn takes_each_base_and_keeps_paths_below_theirs() {
        let bases = bases(&["https://api.example/shop/", "http://orders.internal:8080", "https://[2001:DB8::1]:8443"]);
        assert!(is_target("https://api.example/shop/orders", &bases, "/orders"));
        assert!(is_target("http://orders.internal:8080/orders", &bases, "/orders"));
        assert!(is_target("https://[2001:db8::1]:8443/orders", &bases, "/orders"));
        assert!(!is_target("https://[2001:db8::2]:8443/orders", &bases, "/orders"));
        assert!(!is_target("https://api.example/orders", &bases, "/orders"));
        assert!(!is_target("http://orders.internal/orders", &bases, "/orders"));
        // What climbs out of the base is the URL of another service.
        for path in ["/../admin", "/%2e%2e/admin", "/x/../../admin"] {
            assert!(!is_target("https://api.example/admin", &bases, path), "{path}");
            assert!(!is_target(&format!("https://api.example/shop{path}"), &bases, path), "{path}");
            assert!(is_target("https://api.example/shop/admin", &bases, path), "{path}");
        }
    }

    #[test]
    fn refuses_a_base_that_is_no_url_of_a_service() {
        for bad in [
            "",
            "api.example",
            "https://",
            "https:///x",
            "ftp://api.example",
            "https://u:p@api.example",
            "https://api.example/?q",
            "https://api.example/#f",
            "https://api.example/%",
            "https://api example",
            "https://api.example:99999",
            "https://api.example:65536",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
        assert_eq!(&*base("HTTPS://API.example:443/a/./%7eb/").unwrap(), "https://api.example/a/~b");
        assert_eq!(&*base("http://localhost:3000").unwrap(), "http://localhost:3000");
    }

    proptest::proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "/[a-c./%27eE~-]{0,24}") {
            if let Some(once) = normal_path(&path) {
                proptest::prop_assert_eq!(normal_path(&once), Some(once.clone()));
                proptest::prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn the_quick_way_and_the_long_way_agree(path in "/[a-c/~%2e.-]{0,12}", other in "/[a-c/~%2e.-]{0,12}") {
            let bases = bases(&["https://api.example"]);
            let htu = format!("https://api.example{other}");
            let long = normal_path(&path).is_some() && normal_path(&path) == normal_path(&other);
            proptest::prop_assert_eq!(is_target(&htu, &bases, &path), long);
        }
    }
}
