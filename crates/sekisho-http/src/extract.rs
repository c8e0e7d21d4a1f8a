use sekisho_core::{ConfigError, Credential, CredentialKind, ProofHeader, Reject};

use crate::head::RequestHead;

/// Says where in a request a credential may stand, and takes it out.
///
/// `Authorization: Bearer …` always counts. A cookie and a header can be added, one of each. The query of the URL
/// never counts: it ends up in logs, in the browser's history and in `Referer`
/// ([RFC 9700 §4.3.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.3.2)).
///
/// # Examples
/// ```
/// use sekisho_http::{CredentialSources, HeadParts};
/// let sources = CredentialSources::new().with_cookie("__Host-token")?;
/// let head = HeadParts { method: "GET", path: "/", headers: &[("authorization", b"bearer abc.def.ghi")] };
/// assert_eq!(sources.extract(&head)?.unwrap().expose(), "abc.def.ghi");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CredentialSources {
    cookie: Option<Box<str>>,
    header: Option<Box<str>>,
    dpop: bool,
}

impl CredentialSources {
    /// Looks at `Authorization` only.
    #[must_use]
    pub const fn new() -> Self {
        Self { cookie: None, header: None, dpop: false }
    }

    /// Takes `Authorization: DPoP …` too ([RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)). Without this
    /// it is another scheme, and no credential.
    #[must_use]
    pub const fn with_dpop(mut self) -> Self {
        self.dpop = true;
        self
    }

    /// Looks at the cookie of this name too; letter case counts.
    ///
    /// # Errors
    /// When the name cannot be one ([RFC 6265 §4.1.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.1.1)), or there is
    /// another already.
    pub fn with_cookie(mut self, name: &str) -> Result<Self, ConfigError> {
        if !is_token(name.as_bytes()) {
            return Err(ConfigError::new(format!("{name:?} cannot be the name of a cookie")));
        }
        if self.cookie.as_deref().is_some_and(|other| other != name) {
            return Err(ConfigError::new(format!("credentials come from one cookie, and {name:?} is a second one")));
        }
        self.cookie = Some(name.into());
        Ok(self)
    }

    /// Looks at the header of this name too, in any letter case. Its whole value is the credential.
    ///
    /// # Errors
    /// When the name cannot be one, is `authorization` or `cookie`, or there is another already.
    pub fn with_header(mut self, name: &str) -> Result<Self, ConfigError> {
        let lower = name.to_ascii_lowercase();
        if !is_token(name.as_bytes()) {
            return Err(ConfigError::new(format!("{name:?} cannot be the name of a header")));
        }
        if matches!(&*lower, "authorization" | "cookie") {
            return Err(ConfigError::new(format!("`{lower}` has a form of its own and cannot be a credential header")));
        }
        if self.header.as_deref().is_some_and(|other| other != lower) {
            return Err(ConfigError::new(format!("credentials come from one header, and {name:?} is a second one")));
        }
        self.header = Some(lower.into());
        Ok(self)
    }

    /// Returns the name of the cookie that may hold a credential.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Returns the name of the header that may hold a credential beside `authorization`, in lower case.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// Takes the credential out of a request, or `None` when there is none.
    ///
    /// Copies nothing; takes time proportional to the length of the headers that it looks at.
    ///
    /// # Errors
    /// - [`Reject::SeveralCredentials`]: more than one place holds a credential, one place holds two, or
    ///   `Authorization` stands twice, whatever its scheme ([RFC 6750 §2](https://www.rfc-editor.org/rfc/rfc6750#section-2)).
    /// - [`Reject::MalformedRequest`]: what stands there does not have the form that it must have, is longer than
    ///   16 KiB, or there are more than 128 cookies.
    pub fn extract<'a>(&'a self, head: &'a impl RequestHead) -> Result<Option<Credential<'a>>, Reject> {
        let Self { cookie, header, dpop } = self;
        let mut found = of_authorization(head.header("authorization"), *dpop)?;
        if let Some(name) = cookie {
            found = one_of(found, named_cookie(head.header("cookie"), name)?)?;
        }
        if let Some(name) = header {
            found = one_of(found, named_header(head.header(name))?)?;
        }
        Ok(found)
    }
}

/// Takes a bearer token out of the values of `Authorization`.
///
/// The scheme counts in any letter case; one or more spaces follow, then `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" /
/// "+" / "/" ) *"="` and nothing else ([RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)). Another
/// scheme, `Basic` say, is no credential.
///
/// # Errors
/// [`Reject::SeveralCredentials`] when there are several values, [`Reject::MalformedRequest`] when the form is wrong.
pub fn authorization<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Credential<'a>>, Reject> {
    of_authorization(values, false)
}

fn of_authorization<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
    dpop: bool,
) -> Result<Option<Credential<'a>>, Reject> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reject::SeveralCredentials);
    }
    if value.len() > MAX_BYTES {
        return Err(Reject::MalformedRequest);
    }
    let end = value.iter().position(|b| *b == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    let kind = if scheme.eq_ignore_ascii_case(b"bearer") {
        CredentialKind::Bearer
    } else if dpop && scheme.eq_ignore_ascii_case(b"dpop") {
        CredentialKind::Dpop
    } else {
        // A scheme is a token: a tab or a control character in it is an attempt to be read in two ways.
        return if is_token(scheme) { Ok(None) } else { Err(Reject::MalformedRequest) };
    };
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    let token = rest.get(spaces..).unwrap_or_default();
    text(token, is_b64token(token)).map(|token| Some(Credential::new(kind, token)))
}

/// Reads the values of the header `DPoP` ([RFC 9449 §4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3), check 1).
///
/// Exactly one value, made of what a compact JWS is made of: a proxy that joins two headers puts a comma between them.
pub fn dpop_proof<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> ProofHeader<'a> {
    let Some(value) = values.next() else { return ProofHeader::Absent };
    let jws = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let sound = values.next().is_none() && !value.is_empty() && value.len() <= MAX_BYTES && value.iter().all(jws);
    match std::str::from_utf8(value) {
        Ok(proof) if sound => ProofHeader::One(proof),
        _ => ProofHeader::Malformed,
    }
}

/// Takes the value of the cookie `name` out of the values of `Cookie`.
///
/// HTTP/2 may spread cookies over several headers ([RFC 9113 §8.2.3](https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3)).
/// An empty value is no credential: that is what a removed cookie looks like in some clients. Other cookies may look
/// as they like.
///
/// # Errors
/// - [`Reject::SeveralCredentials`]: the name stands twice. A sibling domain can plant the second one, so neither is
///   taken.
/// - [`Reject::MalformedRequest`]: the value is not made of cookie octets
///   ([RFC 6265 §4.1.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.1.1)), not even quoted; or the bounds are passed.
pub fn named_cookie<'a>(values: impl Iterator<Item = &'a [u8]>, name: &str) -> Result<Option<Credential<'a>>, Reject> {
    let (mut bytes, mut cookies) = (0_usize, 0_usize);
    let mut found: Option<&[u8]> = None;
    for value in values {
        bytes = bytes.saturating_add(value.len());
        if bytes > MAX_BYTES {
            return Err(Reject::MalformedRequest);
        }
        let mut rest = Some(value);
        while let Some(pairs) = rest {
            let (pair, others) = halves(pairs, b';');
            rest = others;
            cookies += 1;
            if cookies > MAX_COOKIES {
                return Err(Reject::MalformedRequest);
            }
            let (this, Some(held)) = halves(pair, b'=') else { continue };
            if trim(this) == name.as_bytes() && found.replace(trim(held)).is_some() {
                return Err(Reject::SeveralCredentials);
            }
        }
    }
    match found {
        None | Some(b"") => Ok(None),
        Some(held) => {
            // All of them in any case: that is faster than to look after each whether to go on.
            let value = text(held, held.iter().fold(true, |sound, b| sound & is_cookie_octet(*b)))?;
            Ok(Some(Credential::new(CredentialKind::Cookie, value)))
        }
    }
}

/// Takes the credential out of the values of a header that holds nothing else.
///
/// # Errors
/// - [`Reject::SeveralCredentials`]: several values.
/// - [`Reject::MalformedRequest`]: empty, too long, or not visible ASCII throughout. A comma is refused as well: a
///   proxy that joins two headers puts one there.
pub fn named_header<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Credential<'a>>, Reject> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reject::SeveralCredentials);
    }
    let sound = value.len() <= MAX_BYTES && value.iter().all(|b| b.is_ascii_graphic() && *b != b',');
    text(value, sound).map(|value| Some(Credential::new(CredentialKind::Header, value)))
}

/// Returns what is before the first `mark`, and what is after it if there is one.
fn halves(bytes: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(mark, bytes).and_then(|at| bytes.split_at_checked(at)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (bytes, None),
    }
}

/// Takes spaces and tabs away at both ends ([RFC 9110 §5.6.3](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.3)); a line feed is no white space here.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn one_of<'a>(first: Option<Credential<'a>>, second: Option<Credential<'a>>) -> Result<Option<Credential<'a>>, Reject> {
    match (first, second) {
        (Some(_), Some(_)) => Err(Reject::SeveralCredentials),
        (first, second) => Ok(first.or(second)),
    }
}

fn text(bytes: &[u8], sound: bool) -> Result<&str, Reject> {
    if bytes.is_empty() || !sound {
        return Err(Reject::MalformedRequest);
    }
    std::str::from_utf8(bytes).map_err(|_| Reject::MalformedRequest)
}

fn is_b64token(bytes: &[u8]) -> bool {
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    let body = bytes.get(..bytes.len() - padding).unwrap_or_default();
    // No early exit: the compiler then tests many bytes at once, which matters for tokens of a kilobyte.
    !body.is_empty() && body.iter().fold(true, |sound, b| sound & is_b64token_byte(*b))
}

/// Written for the compiler to turn into vector code: few comparisons, no branches.
const fn is_b64token_byte(b: u8) -> bool {
    // The bytes from `-` to `9` are `-`, `.`, `/` and the digits.
    let letter = (b | 0x20).wrapping_sub(b'a') < 26;
    letter | (b.wrapping_sub(b'-') <= b'9' - b'-') | (b == b'+') | (b == b'_') | (b == b'~')
}

const fn is_cookie_octet(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\')
}

/// Tells whether these bytes are a token ([RFC 9110 §5.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !bytes.is_empty() && bytes.iter().all(tchar)
}

/// Bytes of one `Authorization`, one credential header, or all `Cookie` headers together.
const MAX_BYTES: usize = 16 * 1024;
const MAX_COOKIES: usize = 128;

#[cfg(test)]
mod tests;
