use std::fmt;
use std::time::Duration;

use sekisho_core::UnixSeconds;

use crate::Issuer;

mod algorithm;
mod claims;
mod der;
mod encryption;
mod honest;
mod key;
mod kind;
mod parse;
mod public_forms;
mod signature;
mod workshop;

pub use honest::{HonestToken, honest_tokens};
use workshop::Workshop;

/// Says for whom hostile and honest tokens are made: which issuer the service trusts, and as which audience it sees itself.
///
/// # Examples
/// ```
/// use sekisho_testkit::{HostileContext, Issuer, hostile_tokens};
/// let issuer = Issuer::new();
/// for hostile in hostile_tokens(&HostileContext::new(&issuer, "orders")) {
///     // hand `hostile.token` to your service, which must refuse it
///     assert!(!hostile.id.is_empty());
/// }
/// ```
#[derive(Clone, Debug)]
pub struct HostileContext {
    issuer: Issuer,
    audience: String,
    now: UnixSeconds,
    leeway: Duration,
    second_issuer: Option<Issuer>,
}

impl HostileContext {
    /// Starts from the trusted issuer and the expected audience, at the time that the issuer's clock shows.
    pub fn new(issuer: &Issuer, audience: impl Into<String>) -> Self {
        Self {
            now: issuer.now(),
            issuer: issuer.clone(),
            audience: audience.into(),
            leeway: Duration::from_secs(60),
            second_issuer: None,
        }
    }

    /// Makes the tokens for another instant than the issuer's.
    #[must_use]
    pub const fn with_now(mut self, now: UnixSeconds) -> Self {
        self.now = now;
        self
    }

    /// Tells the leeway of the verifier, default 60 s; tokens at the very edge depend on it.
    #[must_use]
    pub const fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Names a second issuer that the same verifier trusts. It adds tokens of the one signed by the keys of the other.
    #[must_use]
    pub fn with_second_issuer(mut self, issuer: &Issuer) -> Self {
        self.second_issuer = Some(issuer.clone());
        self
    }

    /// Returns the trusted issuer.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns the expected audience.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Returns the instant for which the tokens are made.
    #[must_use]
    pub const fn now(&self) -> UnixSeconds {
        self.now
    }
}

/// Is a token that a verifier must refuse.
#[derive(Clone)]
pub struct HostileToken {
    /// Names the case for ever: `A…` as in the project's list of attack cases, `T…` for the kit's own; `/b` for a variant.
    pub id: &'static str,
    /// Says in a few words what is wrong with it.
    pub name: String,
    /// Says what an attacker gains from a verifier that takes it, or which rule it breaks.
    pub why: &'static str,
    /// Says which part of a verifier it tries.
    pub group: HostileGroup,
    /// Tells that a standard leaves room here, and that the refusal is this family's strict default. A verifier in a
    /// compatible profile may take it.
    pub strict: bool,
    /// The token, to be handed over as it stands. It may hold bytes that no HTTP header can carry.
    pub token: String,
}

impl HostileToken {
    /// Returns the value of an `Authorization` header that carries the token, or `None` where no header can: it has
    /// control characters, or white space around it that HTTP takes away.
    ///
    /// Not every value is a well-formed one ([RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)): a service
    /// answers 401 to those that are and 400 to the others.
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        let Self { token, .. } = self;
        let carried = token.trim() == token && !token.bytes().any(|b| b.is_ascii_control());
        carried.then(|| format!("Bearer {token}"))
    }
}

impl fmt::Debug for HostileToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostileToken({} {}, {} bytes)", self.id, self.name, self.token.len())
    }
}

/// Names the part of a verifier that a [`HostileToken`] tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostileGroup {
    /// `alg`: `none`, and one algorithm taken for another.
    Algorithm,
    /// The signature's bytes.
    Signature,
    /// Which key: `kid`, and keys that the token brings along.
    Key,
    /// The compact form, base64url and JSON.
    Parse,
    /// Claims of the wrong type, value or time.
    Claims,
    /// Tokens of another kind: ID, refresh and logout tokens, tokens bound to a holder.
    Kind,
    /// Encrypted tokens.
    Encryption,
}

/// Makes every kind of token that a verifier must refuse, each wrong in one way only and otherwise honest.
///
/// What can be signed by the issuer's own key is, so that a refusal for the signature does not hide a missing check.
/// The same iterator serves issuers of every algorithm; a few tokens exist for one family of keys only.
pub fn hostile_tokens(context: &HostileContext) -> impl Iterator<Item = HostileToken> + use<> {
    let workshop = Workshop::new(context);
    let groups: [fn(&Workshop) -> Vec<HostileToken>; 7] = [
        algorithm::tokens,
        signature::tokens,
        key::tokens,
        parse::tokens,
        claims::tokens,
        kind::tokens,
        encryption::tokens,
    ];
    groups.into_iter().flat_map(move |make| make(&workshop))
}

#[cfg(test)]
mod tests;
