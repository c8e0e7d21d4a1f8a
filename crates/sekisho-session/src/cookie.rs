use std::fmt;
use std::time::Duration;

use sekisho_core::{ConfigError, Reject};
use sekisho_http::{RequestHead, named_cookie};

mod client_side;
pub(crate) mod pieces;

pub use client_side::{ClientSideCookie, ClientSideCookieBuilder};

/// Says how the session's cookie is named and sent: `HttpOnly` always, and by default
/// `__Host-session; Path=/; Secure; HttpOnly; SameSite=Lax` ([RFC 6265bis §4.1](https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-4.1)).
///
/// # Examples
/// ```
/// use sekisho_session::{SameSite, SessionCookie};
/// let cookie = SessionCookie::builder().with_same_site(SameSite::Strict).build()?;
/// assert_eq!(
///     cookie.removal().expose(),
///     "__Host-session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; HttpOnly; SameSite=Strict"
/// );
/// assert!(cookie.is_strict() && !SessionCookie::builder().build()?.is_strict());
/// assert!(SessionCookie::builder().with_domain("example.com").build().is_err(), "__Host- cookies have no domain");
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    name: Box<str>,
    /// All attributes but those that limit the time, each with `; ` before it: the same for setting and removing.
    before_time: Box<str>,
    after_time: Box<str>,
}

impl SessionCookie {
    /// Starts from the defaults.
    pub fn builder() -> SessionCookieBuilder {
        SessionCookieBuilder {
            name: "__Host-session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            same_site: SameSite::Lax,
        }
    }

    /// Returns the name, to be given to [`sekisho_http::CheckpointBuilder::with_cookie`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether it stays at home whenever another site leads here: also at the return from a login elsewhere.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.after_time.ends_with("SameSite=Strict")
    }

    /// Takes the value out of a request. Of two cookies with this name neither counts: whoever can plant one must not
    /// choose the session.
    ///
    /// # Errors
    /// - [`Reject::SeveralCredentials`]: the name stands twice.
    /// - [`Reject::MalformedRequest`]: the value is not made of cookie octets, or the bounds of [`named_cookie`] are passed.
    pub fn read<'a>(&self, head: &'a impl RequestHead) -> Result<Option<&'a str>, Reject> {
        Ok(named_cookie(head.header("cookie"), &self.name)?.map(|credential| credential.expose()))
    }

    /// Writes a `Set-Cookie` value for `value`, which must be made of cookie octets. Without `max_age` it ends with the browser.
    pub(crate) fn set(&self, value: &str, max_age: Option<Duration>) -> SetCookie {
        let Self { name, before_time, after_time } = self;
        let time = max_age.map(|max_age| format!("; Max-Age={}", max_age.as_secs())).unwrap_or_default();
        SetCookie(format!("{name}={value}{before_time}{time}{after_time}").into())
    }

    /// Writes the `Set-Cookie` value that takes the cookie away: the same attributes, for with others it would be another
    /// cookie, and a time that is over.
    #[must_use]
    pub fn removal(&self) -> SetCookie {
        let Self { name, before_time, after_time } = self;
        SetCookie(format!("{name}={before_time}{OVER}{after_time}").into())
    }

    /// Makes the same cookie with something behind its name.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Self {
        Self { name: format!("{}{suffix}", self.name).into(), ..self.clone() }
    }
}

/// For clients that do not know `Max-Age`.
const OVER: &str = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";

/// Builds a [`SessionCookie`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionCookieBuilder {
    name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    same_site: SameSite,
}

impl SessionCookieBuilder {
    /// Sets the name. Default `__Host-session`.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the path below which it is sent. Default `/`, and with `__Host-` nothing else. It is no protection: whoever runs
    /// script on the host reads other paths too.
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Sends it to all hosts of this domain too. Default: the one host alone. Needs another name, such as
    /// `__Secure-session`; then each of these hosts can read the session and plant one.
    pub fn with_domain(self, domain: impl Into<String>) -> Self {
        Self { domain: Some(domain.into()), ..self }
    }

    /// Says when it goes along with requests that other sites cause. Default [`SameSite::Lax`].
    pub fn with_same_site(self, same_site: SameSite) -> Self {
        Self { same_site, ..self }
    }

    /// Sends it over plain HTTP too, where everybody on the way can read it. For development with a browser that takes no
    /// `Secure` cookie from `http://localhost`; needs a name without prefix.
    pub fn dangerous_without_secure(self) -> Self {
        Self { secure: false, ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    /// In this order: a name that is no token; a domain or path that cannot stand in a cookie; `__Host-` without `Secure`,
    /// with a domain or another path than `/`; `__Secure-` without `Secure`; `SameSite=None` without `Secure`. Prefixes count
    /// in any letter case, as for browsers.
    pub fn build(self) -> Result<SessionCookie, ConfigError> {
        let Self { name, path, domain, secure, same_site } = self;
        let refuse = |why: &str| Err(ConfigError::new(format!("the cookie {name:?} {why}")));
        if name.len() > MAX_NAME || !is_token(&name) {
            return refuse("must have a name of at most 128 token characters (RFC 9110 §5.6.2)");
        }
        if let Some(domain) = &domain
            && !is_domain(domain)
        {
            return refuse("must have a domain of letters, digits, dots and hyphens, without a dot at either end");
        }
        if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(|b| b.is_ascii_graphic() && b != b';') {
            return refuse("must have a path that begins with `/`, without spaces, semicolons and controls");
        }
        let has_prefix =
            |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        // `__Host-Http-` is covered by `__Host-`: `HttpOnly` is always there.
        if has_prefix("__Host-") && (!secure || domain.is_some() || path != "/") {
            return refuse("is bound to its host by its prefix: it must be secure, with the path `/` and no domain");
        }
        if (has_prefix("__Secure-") || has_prefix("__Http-")) && !secure {
            return refuse("must be secure by its prefix");
        }
        if same_site == SameSite::None && !secure {
            return refuse("must be secure, or browsers refuse `SameSite=None`");
        }
        let domain = domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        let secure = if secure { "; Secure" } else { "" };
        Ok(SessionCookie {
            before_time: format!("{domain}; Path={path}").into(),
            after_time: format!("{secure}; HttpOnly; SameSite={same_site}").into(),
            name: name.into(),
        })
    }
}

const MAX_NAME: usize = 128;
const MAX_PATH: usize = 256;

/// Says when a cookie goes along with requests that other sites cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the standard knows no other")]
pub enum SameSite {
    /// Never, not even when a link is followed: whoever comes from another site seems logged out until the next click.
    Strict,
    /// With links that are followed from elsewhere, not with forms and frames.
    Lax,
    /// Always. All protection against forged requests then is up to the [CSRF check](crate::CsrfRules).
    None,
}

impl fmt::Display for SameSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        })
    }
}

/// Is the value of a `Set-Cookie` header. It holds a secret: `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SetCookie(Box<str>);

impl SetCookie {
    /// Reads it, to be put into the header: visible ASCII and spaces.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetCookie(..)")
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sekisho_http::HeadParts;

    use super::*;

    fn built(builder: SessionCookieBuilder) -> SessionCookie {
        builder.build().unwrap()
    }

    #[test]
    fn sets_and_removes_with_the_same_attributes() {
        let with_domain = SessionCookie::builder().with_name("__Secure-s").with_domain("example.com").with_path("/a");
        for builder in [
            SessionCookie::builder(),
            with_domain,
            SessionCookie::builder().with_name("s").dangerous_without_secure().with_same_site(SameSite::Strict),
        ] {
            let cookie = built(builder);
            let attributes = |text: &str| -> Vec<String> {
                let rest = text.split("; ").skip(1);
                rest.filter(|a| !a.starts_with("Max-Age") && !a.starts_with("Expires")).map(str::to_owned).collect()
            };
            let (set, removal) = (cookie.set("v", Some(Duration::from_secs(60))), cookie.removal());
            assert_eq!(attributes(set.expose()), attributes(removal.expose()));
            assert!(set.expose().contains("; HttpOnly"));
        }
        assert_eq!(
            built(SessionCookie::builder()).set("v", None).expose(),
            "__Host-session=v; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            built(SessionCookie::builder()).set("v", Some(Duration::from_secs(9))).expose(),
            "__Host-session=v; Path=/; Max-Age=9; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn refuses_combinations_that_browsers_refuse_or_that_say_less_than_they_seem() {
        let named = |name: &str| SessionCookie::builder().with_name(name);
        for (what, builder) in [
            ("host with domain", named("__Host-s").with_domain("example.com")),
            ("host with path", named("__Host-s").with_path("/a")),
            ("host without secure", named("__Host-s").dangerous_without_secure()),
            ("host in another letter case", named("__hOST-s").with_domain("example.com")),
            ("secure without secure", named("__Secure-s").dangerous_without_secure()),
            ("http without secure", named("__Http-s").dangerous_without_secure()),
            ("none without secure", named("s").dangerous_without_secure().with_same_site(SameSite::None)),
            ("empty name", named("")),
            ("name with =", named("a=b")),
            ("name with ;", named("a;b")),
            ("name with a line", named("a\r\nb")),
            ("long name", named(&"a".repeat(129))),
            ("domain with a dot before", named("s").with_domain(".example.com")),
            ("domain with ;", named("s").with_domain("example.com; Path=/a")),
            ("empty domain", named("s").with_domain("")),
            ("path without slash", named("s").with_path("a")),
            ("path with ;", named("s").with_path("/a; Domain=example.com")),
            ("path with a line", named("s").with_path("/a\r\nx")),
        ] {
            assert!(builder.build().is_err(), "{what}");
        }
    }

    #[test]
    fn reads_its_cookie_and_neither_of_two() {
        let cookie = built(SessionCookie::builder());
        let head = |value: &'static [u8]| [("cookie", value)];
        let read = |headers: &[(&str, &[u8])]| {
            cookie.read(&HeadParts { method: "GET", path: "/", headers }).map(|value| value.map(str::to_owned))
        };
        assert_eq!(read(&head(b"a=b; __Host-session=v; c=d")), Ok(Some("v".to_owned())));
        assert_eq!(read(&head(b"__host-session=v")), Ok(None), "names count by letter case");
        assert_eq!(read(&head(b"a=b")), Ok(None));
        assert_eq!(read(&head(b"__Host-session=v; __Host-session=w")), Err(Reject::SeveralCredentials));
        assert_eq!(read(&head(b"__Host-session=v\x00")), Err(Reject::MalformedRequest));
    }

    #[test]
    fn debug_of_a_header_shows_no_secret() {
        assert_eq!(format!("{:?}", built(SessionCookie::builder()).set("s3cret", None)), "SetCookie(..)");
    }
}
