//! Addresses to which browsers are sent, and origins whose scripts are let in.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::form;

/// Bounds an address in bytes.
pub(crate) const LONGEST: usize = 2048;

/// Is a registered address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedirectUri {
    /// Compared character by character ([RFC 9700 §2.1](https://www.rfc-editor.org/rfc/rfc9700#section-2.1)).
    Exact(String),
    /// This path on a loopback address by number, with any port.
    Loopback(String),
}

impl RedirectUri {
    pub(crate) fn matches(&self, asked: &str) -> bool {
        match self {
            Self::Exact(uri) => uri == asked,
            Self::Loopback(path) => {
                let rest = asked.strip_prefix("http://127.0.0.1:").or_else(|| asked.strip_prefix("http://[::1]:"));
                let digits = rest.map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
                let Some((port, rest)) = rest.and_then(|rest| rest.split_at_checked(digits)) else { return false };
                port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port) && rest == path
            }
        }
    }
}

/// Checks an address that is to be registered.
pub(crate) fn check_redirect_uri(text: &str, is_public: bool) -> Result<(), &'static str> {
    if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\*\"<>^`{|}".contains(&byte)) {
        return Err("not an absolute URL of visible ASCII characters without wildcards");
    }
    let url = Url::parse(text).map_err(|_| "not an absolute URL")?;
    if url.fragment().is_some() {
        return Err("a fragment");
    }
    match url.scheme() {
        "https" | "http" => {
            // What a browser makes of it must be what was registered: no dots, no default port, no upper-case host.
            let same = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
            if !same || url.path().contains("//") {
                return Err("not in the form that browsers give it");
            }
            if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
                return Err("a user name");
            }
            if url.scheme() == "http" && !is_loopback(&url) {
                return Err("http is for this machine only");
            }
            Ok(())
        }
        // RFC 8252 §7.1: a domain name in reverse, so that schemes such as `javascript` and `data` are none.
        scheme if is_public && scheme.contains('.') => Ok(()),
        _ => Err("not https; schemes of one's own are for public clients, and have a dot"),
    }
}

/// Tells whether a text is an origin as browsers write it.
pub(crate) fn check_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let trusted = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    trusted && url.origin().ascii_serialization() == text
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// Adds parameters to a registered address.
pub(crate) fn with_parameters(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut whole = uri.to_owned();
    for (name, value) in parameters {
        whole.push(if whole.contains('?') { '&' } else { '?' });
        whole.push_str(name);
        whole.push('=');
        whole.push_str(&form::encode(value));
    }
    whole
}

/// Writes the source expression of a `Content-Security-Policy` that lets a form lead to an address.
pub(crate) fn form_action(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    match url.host() {
        Some(Host::Domain(_) | Host::Ipv4(_)) if matches!(url.scheme(), "http" | "https") => {
            Some(url.origin().ascii_serialization())
        }
        // The grammar knows no IPv6 addresses.
        _ => Some(format!("{}:", url.scheme())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_has_any_port_and_nothing_else_new() {
        let uri = RedirectUri::Loopback("/cb".to_owned());
        for good in ["http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", "http://[::1]:8080/cb"] {
            assert!(uri.matches(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:080/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:80@evil.example/cb",
            "http://127.0.0.1:80.evil.example/cb",
            "http://127.0.0.1:80/cb/",
            "http://127.0.0.1:80/cb?x",
            "http://127.0.0.1:80/CB",
            "https://127.0.0.1:80/cb",
            "http://localhost:80/cb",
            "http://127.0.0.2:80/cb",
        ] {
            assert!(!uri.matches(bad), "{bad}");
        }
    }

    #[test]
    fn parameters_are_added_after_those_that_are_there() {
        assert_eq!(with_parameters("https://a.example/cb", &[("code", "a b&c")]), "https://a.example/cb?code=a+b%26c");
        assert_eq!(
            with_parameters("https://a.example/cb?x=1", &[("a", "1"), ("b", "2")]),
            "https://a.example/cb?x=1&a=1&b=2"
        );
        assert_eq!(form_action("https://a.example:8443/cb").as_deref(), Some("https://a.example:8443"));
        assert_eq!(form_action("http://[::1]:80/cb").as_deref(), Some("http:"));
        assert_eq!(form_action("com.example.app:/cb").as_deref(), Some("com.example.app:"));
    }
}
