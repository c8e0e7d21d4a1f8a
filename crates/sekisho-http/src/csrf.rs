use sekisho_core::ConfigError;

use crate::answer::Answer;
use crate::head::RequestHead;

/// Says which requests could have been caused by another site, and are refused.
///
/// Cookies go along with requests whoever causes them. So of every request that opens a WebSocket, or has another method than
/// `GET`, `HEAD`, `OPTIONS` and `TRACE`, in this order (what opens a WebSocket has `Upgrade: websocket`, `Sec-WebSocket-Version`, `-Key`,
/// `-Protocol` or `-Extensions`, or is a `CONNECT` of HTTP/2):
/// 1. Its `Origin` is [trusted](Self::with_trusted_origin): it passes this step.
/// 2. `Sec-Fetch-Site` is there, which no page can set: `same-origin` and `none` pass, all else is refused
///    ([Fetch Metadata §2.3](https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header)).
/// 3. `Origin` alone is there: it must be [our own](Self::with_own_origin), or its host and port must be those of `Host`; the scheme,
///    which a service behind a proxy does not see, is then not compared.
/// 4. Neither is there, as from programs and very old browsers: it passes if it has no cookie that counts, or the custom header.
///
/// Then, where [the header is demanded](Self::with_required_header), the request must have it: a page of another site can
/// send it only after a preflight that nobody answers.
///
/// Handlers of `GET` must change nothing. Forms of `sekisho-session` can have a token beside.
#[derive(Clone, Debug)]
pub struct CsrfRules {
    own_origins: Vec<Box<str>>,
    trusted_origins: Vec<Box<str>>,
    header: Box<str>,
    requires_header: bool,
}

/// Says why a request is refused as one that another site may have caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forgery {
    /// `Sec-Fetch-Site` says that another site caused it.
    OtherSite,
    /// `Origin` is not one of ours.
    OtherOrigin,
    /// `Sec-Fetch-Site`, `Origin` or `Host` stands twice, or is not text.
    Unreadable,
    /// A cookie, and nothing that tells who caused the request.
    Unknown,
    /// The custom header is not there.
    NoHeader,
    /// The token of the form is not there, or of another session.
    NoToken,
}

impl Forgery {
    /// Returns a short stable name for logs and metric labels.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OtherSite => "other_site",
            Self::OtherOrigin => "other_origin",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown_origin",
            Self::NoHeader => "no_header",
            Self::NoToken => "no_token",
        }
    }
}

impl Forgery {
    /// Answers, and logs, that the request is refused: 403, or 400 for what cannot be read.
    #[must_use]
    pub fn answer(self) -> Answer {
        tracing::info!(target: "sekisho", reason = self.code(), "a request is refused as forged");
        match self {
            Self::Unreadable => Answer::bad_request(),
            _ => Answer::forbidden(),
        }
    }
}

impl Default for CsrfRules {
    fn default() -> Self {
        Self { own_origins: Vec::new(), trusted_origins: Vec::new(), header: "x-csrf".into(), requires_header: false }
    }
}

impl CsrfRules {
    /// Takes no request that another origin caused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names an origin under which browsers see this service, such as `https://shop.example`. Default: none, and `Origin` is
    /// compared with `Host`, which a proxy in between may have changed. A service that knows its origins should name them.
    ///
    /// # Errors
    /// When it is not an origin in the form that browsers send.
    pub fn with_own_origin(mut self, origin: &str) -> Result<Self, ConfigError> {
        self.own_origins.push(checked_origin(origin)?);
        Ok(self)
    }

    /// Lets this other origin cause requests: a front end of ours under another name. Default: none.
    ///
    /// # Errors
    /// When it is not an origin in the form that browsers send.
    pub fn with_trusted_origin(mut self, origin: &str) -> Result<Self, ConfigError> {
        self.trusted_origins.push(checked_origin(origin)?);
        Ok(self)
    }

    /// Demands the header `X-CSRF`, with any value, of every request that changes something: for APIs that scripts call.
    /// Default: no.
    #[must_use]
    pub fn with_required_header(self) -> Self {
        Self { requires_header: true, ..self }
    }

    /// Names the custom header. Default `X-CSRF`.
    ///
    /// # Errors
    /// When it cannot be a name, or is one that pages may send without asking
    /// ([Fetch §2.2.2](https://fetch.spec.whatwg.org/#cors-safelisted-request-header)).
    pub fn with_header_name(self, name: &str) -> Result<Self, ConfigError> {
        let header = name.to_ascii_lowercase();
        let sound = !header.is_empty() && header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !sound || SAFELISTED.contains(&&*header) {
            return Err(ConfigError::new(format!("{name:?} is no header that shows who caused a request")));
        }
        Ok(Self { header: header.into(), ..self })
    }

    /// Checks a request. `has_cookie` tells whether it brought a cookie that may prove who calls: a session's, or one with a token.
    ///
    /// # Errors
    /// What would make it a forgery; HTTP 403.
    pub fn check(&self, head: &impl RequestHead, has_cookie: bool) -> Result<(), Forgery> {
        let is_safe = matches!(head.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE");
        // A socket is opened by `GET`, and then anything can go through it.
        if is_safe && !opens_socket(head) {
            return Ok(());
        }
        let has_header = head.header(&self.header).next().is_some();
        if self.requires_header && !has_header {
            return Err(Forgery::NoHeader);
        }
        self.check_cause(head, has_cookie, has_header)
    }

    /// Checks who caused a request that may change something.
    fn check_cause(&self, head: &impl RequestHead, has_cookie: bool, has_header: bool) -> Result<(), Forgery> {
        let (site, origin) = (one(head, "sec-fetch-site")?, one(head, "origin")?);
        if let Some(origin) = origin
            && self.trusted_origins.iter().any(|trusted| **trusted == *origin)
        {
            return Ok(());
        }
        match (site, origin) {
            (Some("same-origin" | "none"), _) => Ok(()),
            (Some(_), _) => Err(Forgery::OtherSite),
            (None, Some(origin)) => self.check_origin(head, origin),
            (None, None) if !has_cookie || has_header => Ok(()),
            (None, None) => Err(Forgery::Unknown),
        }
    }

    /// Checks a call of an API that only scripts make: as [`check`](Self::check) does, but whatever the method is, and the custom
    /// header is demanded in any case.
    ///
    /// # Errors
    /// What would make it a forgery; HTTP 403.
    pub fn check_call(&self, head: &impl RequestHead, has_cookie: bool) -> Result<(), Forgery> {
        if head.header(&self.header).next().is_none() {
            return Err(Forgery::NoHeader);
        }
        self.check_cause(head, has_cookie, true)
    }

    fn check_origin(&self, head: &impl RequestHead, origin: &str) -> Result<(), Forgery> {
        if !self.own_origins.is_empty() {
            let own = self.own_origins.iter().any(|own| **own == *origin);
            return if own { Ok(()) } else { Err(Forgery::OtherOrigin) };
        }
        let host = one(head, "host")?.ok_or(Forgery::OtherOrigin)?;
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        match authority {
            Some(authority) if !authority.is_empty() && authority.eq_ignore_ascii_case(host) => Ok(()),
            _ => Err(Forgery::OtherOrigin),
        }
    }
}

/// INVARIANT: one mark is enough. A proxy takes `Upgrade` away before it asks, and a socket over HTTP/2 has no key
/// ([RFC 8441 §5](https://www.rfc-editor.org/rfc/rfc8441#section-5)), also where a proxy makes a `GET` of its `CONNECT`. Pages can
/// set none of these headers by themselves.
fn opens_socket(head: &impl RequestHead) -> bool {
    // Most requests have none of these, and are done with the first look.
    if !head.has_any(&OF_SOCKETS) {
        return false;
    }
    let [upgrade, marks @ ..] = OF_SOCKETS;
    let is_socket =
        |value: &[u8]| value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(b"websocket"));
    head.has_any(&marks) || head.header(upgrade).any(is_socket)
}

/// `Upgrade`, which may be to something else, and the marks.
const OF_SOCKETS: [&str; 5] =
    ["upgrade", "sec-websocket-version", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-extensions"];

/// Reads a header that stands once at the most.
fn one<'a>(head: &'a impl RequestHead, name: &'a str) -> Result<Option<&'a str>, Forgery> {
    let mut values = head.header(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Forgery::Unreadable);
    }
    std::str::from_utf8(value).map(Some).map_err(|_| Forgery::Unreadable)
}

/// Takes an origin as browsers write it: scheme, host in lower case, the port if it is not the scheme's own
/// ([RFC 6454 §6.2](https://www.rfc-editor.org/rfc/rfc6454#section-6.2)).
fn checked_origin(origin: &str) -> Result<Box<str>, ConfigError> {
    let authority = match origin.split_once("://") {
        Some(("https", authority)) => authority.strip_suffix(":443").map_or(Some(authority), |_| None),
        Some(("http", authority)) => authority.strip_suffix(":80").map_or(Some(authority), |_| None),
        _ => None,
    };
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b);
    match authority {
        Some(authority) if !authority.is_empty() && authority.bytes().all(letter) => Ok(origin.into()),
        _ => Err(ConfigError::new(format!(
            "{origin:?} is no origin: it must be like `https://shop.example`, in lower case, without a path and without \
             the port that the scheme has by itself"
        ))),
    }
}

const SAFELISTED: [&str; 10] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
    "range",
    "cookie",
    "origin",
    "host",
    "referer",
    "user-agent",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::HeadParts;

    fn check(rules: &CsrfRules, method: &str, headers: &[(&str, &[u8])]) -> Result<(), Forgery> {
        rules.check(&HeadParts { method, path: "/transfer", headers }, true)
    }

    fn post(headers: &[(&str, &[u8])]) -> Result<(), Forgery> {
        check(&CsrfRules::new(), "POST", headers)
    }

    #[test]
    fn what_changes_nothing_passes_and_any_other_method_is_checked() {
        let other: &[(&str, &[u8])] = &[("sec-fetch-site", b"cross-site")];
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert_eq!(check(&CsrfRules::new(), method, other), Ok(()));
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "get", "FOO", "CONNECT", ""] {
            assert_eq!(check(&CsrfRules::new(), method, other), Err(Forgery::OtherSite), "{method}");
        }
    }

    #[test]
    fn a_socket_is_no_harmless_get() {
        for mark in [
            ("upgrade", &b"websocket"[..]),
            ("upgrade", b"h2c, WebSocket"),
            ("sec-websocket-key", b"x"),
            // Over HTTP/2 there is no key, and `Upgrade` may have been taken away.
            ("sec-websocket-version", b"13"),
            ("sec-websocket-version", b""),
            ("sec-websocket-protocol", b"chat"),
            ("sec-websocket-extensions", b"permessage-deflate"),
        ] {
            let other: [(&str, &[u8]); 3] = [mark, ("origin", b"https://evil.example"), ("host", b"shop.example")];
            assert_eq!(check(&CsrfRules::new(), "GET", &other), Err(Forgery::OtherOrigin));
            let own: [(&str, &[u8]); 3] = [mark, ("origin", b"https://shop.example"), ("host", b"shop.example")];
            assert_eq!(check(&CsrfRules::new(), "GET", &own), Ok(()));
            for site in [&b"cross-site"[..], b"same-site"] {
                assert_eq!(check(&CsrfRules::new(), "GET", &[mark, ("sec-fetch-site", site)]), Err(Forgery::OtherSite));
            }
            assert_eq!(check(&CsrfRules::new(), "GET", &[mark]), Err(Forgery::Unknown));
        }
        let other: [(&str, &[u8]); 2] = [("upgrade", b"h2c"), ("sec-fetch-site", b"cross-site")];
        assert_eq!(check(&CsrfRules::new(), "GET", &other), Ok(()), "another upgrade opens none");
    }

    #[test]
    fn believes_the_browser_who_caused_it() {
        for site in ["same-origin", "none"] {
            assert_eq!(post(&[("sec-fetch-site", site.as_bytes())]), Ok(()));
        }
        for site in ["cross-site", "same-site", "", "Same-Origin", "same-origin, cross-site"] {
            assert_eq!(post(&[("sec-fetch-site", site.as_bytes())]), Err(Forgery::OtherSite), "{site}");
        }
        // It outweighs a matching `Origin`: with `same-site` that would be another port of ours.
        let headers: [(&str, &[u8]); 3] =
            [("sec-fetch-site", b"cross-site"), ("origin", b"https://shop.example"), ("host", b"shop.example")];
        assert_eq!(post(&headers), Err(Forgery::OtherSite));
        let twice: [(&str, &[u8]); 2] = [("sec-fetch-site", b"same-origin"), ("sec-fetch-site", b"cross-site")];
        assert_eq!(post(&twice), Err(Forgery::Unreadable));
    }

    #[test]
    fn compares_the_origin_where_nothing_better_is_there() {
        let from = |origin: &'static [u8]| post(&[("origin", origin), ("host", b"shop.example")]);
        assert_eq!(from(b"https://shop.example"), Ok(()));
        for origin in [
            &b"https://evil.example"[..],
            b"null",
            b"",
            b"https://shop.example.evil.example",
            b"https://shop.example:8443",
            b"https://evil.example/?shop.example",
            b"https://",
            b"ftp://shop.example",
            b"shop.example",
        ] {
            assert_eq!(from(origin), Err(Forgery::OtherOrigin), "{}", String::from_utf8_lossy(origin));
        }
        assert_eq!(post(&[("origin", b"https://shop.example")]), Err(Forgery::OtherOrigin), "no host");
        assert_eq!(post(&[("origin", b"\xff"), ("host", b"\xff")]), Err(Forgery::Unreadable));
    }

    #[test]
    fn origins_that_are_named_outweigh_the_host() {
        let rules = CsrfRules::new().with_own_origin("https://shop.example").unwrap();
        let from = |origin: &'static [u8]| check(&rules, "POST", &[("origin", origin), ("host", b"inner:8080")]);
        assert_eq!(from(b"https://shop.example"), Ok(()));
        assert_eq!(from(b"http://inner:8080"), Err(Forgery::OtherOrigin));
        assert_eq!(from(b"http://shop.example"), Err(Forgery::OtherOrigin));
    }

    #[test]
    fn a_trusted_origin_may_cause_requests_from_elsewhere() {
        let rules = CsrfRules::new().with_trusted_origin("https://app.example").unwrap();
        let headers: [(&str, &[u8]); 2] = [("sec-fetch-site", b"cross-site"), ("origin", b"https://app.example")];
        assert_eq!(check(&rules, "POST", &headers), Ok(()));
        let headers: [(&str, &[u8]); 2] = [("sec-fetch-site", b"cross-site"), ("origin", b"https://app.example.evil")];
        assert_eq!(check(&rules, "POST", &headers), Err(Forgery::OtherSite));
    }

    #[test]
    fn a_cookie_without_any_sign_of_its_origin_is_refused() {
        assert_eq!(post(&[]), Err(Forgery::Unknown));
        assert_eq!(post(&[("x-csrf", b"1")]), Ok(()));
        let head = HeadParts { method: "POST", path: "/", headers: &[] };
        assert_eq!(CsrfRules::new().check(&head, false), Ok(()), "a program with a token of its own");
    }

    #[test]
    fn apis_can_demand_the_header_beside_everything_else() {
        let rules = CsrfRules::new().with_required_header();
        let same: (&str, &[u8]) = ("sec-fetch-site", b"same-origin");
        assert_eq!(check(&rules, "POST", &[same]), Err(Forgery::NoHeader));
        assert_eq!(check(&rules, "POST", &[same, ("x-csrf", b"1")]), Ok(()));
        let headers: [(&str, &[u8]); 2] = [("sec-fetch-site", b"cross-site"), ("x-csrf", b"1")];
        assert_eq!(check(&rules, "POST", &headers), Err(Forgery::OtherSite), "the header alone is not enough");
        assert_eq!(check(&rules, "GET", &[]), Ok(()));
        let named = CsrfRules::new().with_required_header().with_header_name("X-Requested-With").unwrap();
        assert_eq!(check(&named, "POST", &[same, ("x-requested-with", b"fetch")]), Ok(()));
    }

    #[test]
    fn a_script_s_call_shows_the_header_and_its_origin_whatever_the_method() {
        let call = |method: &str, headers: &[(&str, &[u8])]| {
            CsrfRules::new().check_call(&HeadParts { method, path: "/api", headers }, true)
        };
        let header: (&str, &[u8]) = ("x-csrf", b"1");
        let same: (&str, &[u8]) = ("sec-fetch-site", b"same-origin");
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            assert_eq!(call(method, &[same]), Err(Forgery::NoHeader), "{method}");
            assert_eq!(call(method, &[header, ("sec-fetch-site", b"cross-site")]), Err(Forgery::OtherSite), "{method}");
            let other: [(&str, &[u8]); 3] = [header, ("origin", b"https://evil.example"), ("host", b"shop.example")];
            assert_eq!(call(method, &other), Err(Forgery::OtherOrigin), "{method}");
            assert_eq!(call(method, &[header, same]), Ok(()), "{method}");
            assert_eq!(
                call(method, &[header]),
                Ok(()),
                "{method}: an old browser, after a preflight that nobody answers"
            );
        }
    }

    #[test]
    fn refuses_origins_and_headers_that_could_not_work() {
        for origin in [
            "",
            "shop.example",
            "https://",
            "https://Shop.example",
            "https://shop.example/",
            "https://a:443",
            "http://a:80",
            "null",
            "https://a b",
            "https://a@b",
            "ftp://a",
        ] {
            assert!(CsrfRules::new().with_own_origin(origin).is_err(), "{origin}");
            assert!(CsrfRules::new().with_trusted_origin(origin).is_err(), "{origin}");
        }
        for origin in ["https://shop.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert!(CsrfRules::new().with_own_origin(origin).is_ok(), "{origin}");
        }
        for header in ["", "a b", "Content-Type", "Accept", "Origin", "x\r\ny"] {
            assert!(CsrfRules::new().with_header_name(header).is_err(), "{header}");
        }
    }
}
