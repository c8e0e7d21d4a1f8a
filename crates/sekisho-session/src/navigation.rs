use std::fmt::Write as _;

use sekisho_core::ConfigError;
use sekisho_http::RequestHead;

/// Sends browsers that need a login to its page, and leaves everybody else their 401.
///
/// A browser's navigation is a `GET` or `HEAD` with `Sec-Fetch-Mode: navigate`; where no such header is there, one whose
/// `Accept` names `text/html`. Scripts and programs get the 401: they would take a page for an answer.
///
/// # Examples
/// ```
/// use sekisho_http::HeadParts;
/// use sekisho_session::LoginRedirect;
/// let login = LoginRedirect::to("/login")?;
/// let page = HeadParts { method: "GET", path: "/orders", headers: &[("sec-fetch-mode", b"navigate")] };
/// assert_eq!(login.location(&page, Some("page=2")).as_deref(), Some("/login?return_to=%2Forders%3Fpage%3D2"));
/// let script = HeadParts { method: "GET", path: "/orders", headers: &[("sec-fetch-mode", b"cors")] };
/// assert_eq!(login.location(&script, None), None);
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoginRedirect {
    page: Box<str>,
}

impl LoginRedirect {
    /// Names the page: a path of this host, or the https URL of another one, without a query.
    ///
    /// # Errors
    /// When it is neither.
    pub fn to(page: &str) -> Result<Self, ConfigError> {
        let is_url = page.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        let sound =
            page.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'\\' | b'<' | b'>'));
        if !sound || !(is_url || ReturnTo::parse(page).is_some()) {
            return Err(ConfigError::new(format!(
                "{page:?} is no page to log in at: a path, or an https URL, without a query"
            )));
        }
        Ok(Self { page: page.into() })
    }

    /// Returns where to send a request that was answered with 401; `None` when it must stay with that. To be sent with 303.
    ///
    /// `query` is that of the request, without the question mark. Where it led to goes along as `return_to`, to be read with
    /// [`ReturnTo::parse`], unless it is longer than 2,000 bytes or the login itself.
    pub fn location(&self, head: &impl RequestHead, query: Option<&str>) -> Option<String> {
        let path = head.whole_path();
        if !is_navigation(head) || path == &*self.page {
            return None;
        }
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let mut location = String::from(&*self.page);
        if target.len() <= MAX_TARGET && ReturnTo::parse(&target).is_some() {
            location.push_str("?return_to=");
            push_encoded(&mut location, &target);
        }
        Some(location)
    }
}

/// Adds to the login's address what a challenge of RFC 9470 asks for.
pub(crate) fn with_step_up<'c>(mut login: String, challenges: impl IntoIterator<Item = &'c [u8]>) -> String {
    let mut texts = challenges.into_iter().filter_map(|challenge| std::str::from_utf8(challenge).ok());
    let Some(challenge) = texts.find(|text| text.contains("error=\"insufficient_user_authentication\"")) else {
        return login;
    };
    for (name, most) in [("acr_values", MAX_ACR_VALUES), ("max_age", MAX_AGE_DIGITS)] {
        let value = challenge.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        let Some((value, _)) = value.filter(|(value, _)| !value.is_empty() && value.len() <= most) else { continue };
        login.push(if login.contains('?') { '&' } else { '?' });
        login.push_str(name);
        login.push('=');
        push_encoded(&mut login, value);
    }
    login
}

fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a `String` does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// Tells whether a browser is about to show the answer as a page.
pub fn is_navigation(head: &impl RequestHead) -> bool {
    if !matches!(head.method(), "GET" | "HEAD") {
        return false;
    }
    match head.header("sec-fetch-mode").next() {
        Some(mode) => mode == b"navigate",
        None => head.header("accept").any(|accept| {
            let mut kinds = accept.split(|b| *b == b',').filter_map(|kind| kind.split(|b| *b == b';').next());
            kinds.any(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/html"))
        }),
    }
}

/// Is a place on this host to go on to after a login: a path and perhaps a query. Nothing that a browser takes for another
/// host is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(Box<str>);

impl ReturnTo {
    /// Reads what came with a request, already percent-decoded once; `None` when it could lead elsewhere.
    ///
    /// It begins with one `/` that neither `/` nor `\` follows; it is visible ASCII without `\`, has no `//` in its path, no
    /// dots as segments, and no encoded control character, slash or backslash in its path, which something in between could
    /// decode; at most 2,000 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'));
        if text.len() > MAX_TARGET || !visible || !text.starts_with('/') {
            return None;
        }
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let mut segments = path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let decoded = decode(segment)?;
            let hidden = decoded.iter().any(|b| b.is_ascii_control() || matches!(b, b'/' | b'\\'));
            let is_last = segments.peek().is_none();
            if hidden || matches!(&*decoded, b"." | b"..") || (segment.is_empty() && !is_last) {
                return None;
            }
        }
        // Nothing in the query may become a line of its own.
        let rest = text.get(path.len()..).unwrap_or_default();
        let broken = decode(rest)?.iter().any(u8::is_ascii_control);
        (!broken).then(|| Self(text.into()))
    }

    /// Returns the place, for a `Location` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Undoes percent-encoding; `None` when it is broken.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

const MAX_TARGET: usize = 2000;
const MAX_ACR_VALUES: usize = 400;
const MAX_AGE_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sekisho_http::HeadParts;

    use super::*;

    #[test]
    fn takes_no_place_that_a_browser_finds_elsewhere() {
        for bad in [
            "",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "evil.example",
            "/%0d%0aSet-Cookie:x",
            "/a?b=%0d%0aX",
            "/%2f/evil.example",
            "/%2Fevil.example",
            "/%5cevil.example",
            "/.//evil.example",
            "/..//evil.example",
            "/a/../..//evil.example",
            "/%2e%2e/x",
            "/a//evil.example",
            "/é",
            "/ evil",
            "/a\"onload=x",
            "/%zz",
            "/%",
            "/%2",
            " /a",
        ] {
            assert!(ReturnTo::parse(bad).is_none(), "{bad:?}");
        }
        assert!(ReturnTo::parse(&format!("/{}", "a".repeat(2000))).is_none());
        for good in
            ["/", "/orders", "/orders/", "/orders?page=2&x=//y", "/a/b#c", "/caf%C3%A9", "/a?u=https%3A%2F%2Fb.example"]
        {
            assert_eq!(ReturnTo::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn sends_navigations_and_nothing_else_to_the_login() {
        let login = LoginRedirect::to("/login").unwrap();
        let location = |method: &str, headers: &[(&str, &[u8])]| {
            login.location(&HeadParts { method, path: "/orders", headers }, None)
        };
        let to = Some("/login?return_to=%2Forders".to_owned());
        assert_eq!(location("GET", &[("sec-fetch-mode", b"navigate")]), to);
        assert_eq!(location("HEAD", &[("sec-fetch-mode", b"navigate")]), to);
        assert_eq!(location("GET", &[("accept", b"text/html,application/xhtml+xml;q=0.9")]), to);
        assert_eq!(location("GET", &[("accept", b"application/json, text/html;q=0.1")]), to);
        for (method, headers) in [
            ("POST", [("sec-fetch-mode", &b"navigate"[..])]),
            ("GET", [("sec-fetch-mode", b"cors")]),
            ("GET", [("sec-fetch-mode", b"no-cors")]),
            ("GET", [("accept", b"application/json")]),
            ("GET", [("accept", b"*/*")]),
            ("GET", [("accept", b"text/html-x")]),
        ] {
            assert_eq!(location(method, &headers), None, "{method} {headers:?}");
        }
        let script: [(&str, &[u8]); 2] = [("sec-fetch-mode", b"cors"), ("accept", b"text/html")];
        assert_eq!(location("GET", &script), None, "what the browser says outweighs `Accept`");
        assert_eq!(location("GET", &[]), None);
    }

    #[test]
    fn does_not_send_the_login_to_itself_and_carries_no_place_that_leads_elsewhere() {
        let login = LoginRedirect::to("/login").unwrap();
        let long = "x".repeat(3000);
        let headers: [(&str, &[u8]); 1] = [("sec-fetch-mode", b"navigate")];
        let at = |path, query| login.location(&HeadParts { method: "GET", path, headers: &headers }, query);
        assert_eq!(at("/login", None), None);
        assert_eq!(at("//evil.example", None).as_deref(), Some("/login"));
        assert_eq!(at("/a", Some(&*long)).as_deref(), Some("/login"));
        assert_eq!(at("/a", Some("b=c&d=%26")).as_deref(), Some("/login?return_to=%2Fa%3Fb%3Dc%26d%3D%2526"));
    }

    #[test]
    fn tells_the_login_what_a_challenge_asks_for() {
        let step_up = |login: &str, challenges: &[&str]| {
            with_step_up(login.to_owned(), challenges.iter().map(|challenge| challenge.as_bytes()))
        };
        let asks = r#"Bearer error="insufficient_user_authentication", error_description="log in again", acr_values="gold a&b", max_age="5""#;
        assert_eq!(step_up("/login?return_to=%2F", &[asks]), "/login?return_to=%2F&acr_values=gold%20a%26b&max_age=5");
        assert_eq!(step_up("/login", &["Basic", asks]), "/login?acr_values=gold%20a%26b&max_age=5");
        let only = r#"Bearer error="insufficient_user_authentication", max_age="0""#;
        assert_eq!(step_up("/login", &[only]), "/login?max_age=0");
        let (other, long) = (asks.replace("user", "other"), asks.replace("gold", &"x".repeat(500)));
        for nothing in [&[][..], &["Bearer"], &[&*other], &["\u{e9}"]] {
            assert_eq!(step_up("/login", nothing), "/login", "{nothing:?}");
        }
        assert_eq!(step_up("/login", &[&*long]), "/login?max_age=5");
    }

    #[test]
    fn refuses_pages_that_are_none() {
        for bad in
            ["", "login", "//evil", "http://id.example/login", "https://", "/login?x=y", "/a b", "/a\r\nb", "/a#b"]
        {
            assert!(LoginRedirect::to(bad).is_err(), "{bad}");
        }
        assert!(LoginRedirect::to("https://id.example/login").is_ok());
    }
}
