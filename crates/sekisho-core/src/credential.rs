use std::fmt;

use crate::Presentation;

/// Says how a credential reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CredentialKind {
    /// `Authorization: Bearer …` ([RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)).
    Bearer,
    /// `Authorization: DPoP …` ([RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)).
    Dpop,
    /// The value of a named cookie.
    Cookie,
    /// The whole value of a named request header.
    Header,
}

/// Is the proof of identity that one request carried, not yet believed.
///
/// It borrows from the request, so taking it out costs nothing. Possession is proof: `Debug`
/// shows the kind and the length, never the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential<'a> {
    kind: CredentialKind,
    value: &'a str,
    presentation: Option<&'a Presentation<'a>>,
}

impl<'a> Credential<'a> {
    /// Wraps a value taken from a request.
    #[must_use]
    pub const fn new(kind: CredentialKind, value: &'a str) -> Self {
        Self { kind, value, presentation: None }
    }

    /// Wraps a bearer token.
    #[must_use]
    pub const fn bearer(token: &'a str) -> Self {
        Self::new(CredentialKind::Bearer, token)
    }

    /// Returns how it reached us.
    #[must_use]
    pub const fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// Adds what the request shows beside it, for tokens that are bound to a key or a certificate.
    #[must_use]
    pub const fn with_presentation(mut self, presentation: &'a Presentation<'a>) -> Self {
        self.presentation = Some(presentation);
        self
    }

    /// Returns what the request shows beside it; `None` where nobody takes bound tokens.
    #[must_use]
    pub const fn presentation(&self) -> Option<&'a Presentation<'a>> {
        self.presentation
    }

    /// Reads the value. It is a secret: it goes to a verifier, not to a log.
    #[must_use]
    pub const fn expose(&self) -> &'a str {
        self.value
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?}, {} bytes)", self.kind, self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_kind_and_the_length_only() {
        assert_eq!(format!("{:?}", Credential::bearer("abc.def.ghi")), "Credential(Bearer, 11 bytes)");
    }
}
