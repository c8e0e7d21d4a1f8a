//! What of a session's data is ours: the tokens, and how far their life has come.

use std::fmt;

use sekisho_core::{Failure, FailureKind, Secret, UnixSeconds};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::session::cycle::{self, Life};
use crate::tokens::TokenSet;

/// Is the one member of a session's data that belongs to the relying party; others are the application's.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Member {
    #[serde(rename = "sekisho.oidc", default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<Held>,
}

/// Is what a login left in the session. `Debug` shows no token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The provider, by the name that it is configured under.
    #[serde(rename = "p")]
    pub(crate) provider: Box<str>,
    #[serde(rename = "a")]
    access_token: Hidden,
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    is_dpop: bool,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Hidden>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    id_token: Option<Hidden>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    scope: Option<Box<str>>,
    #[serde(rename = "l")]
    pub(crate) life: Life,
}

impl Held {
    /// Takes what a login brought.
    ///
    /// # Errors
    /// [`Failure`], `BadGateway`, when it has no place in a session.
    pub(crate) fn of(provider: &str, tokens: &TokenSet, now: UnixSeconds) -> Result<Self, Failure> {
        let TokenSet { access_token, is_dpop, expires_at, refresh_token, id_token, scope } = tokens;
        let parts = [Some(access_token), refresh_token.as_ref(), id_token.as_ref()];
        let size: usize = parts.into_iter().flatten().map(Secret::len).sum();
        if size > MAX_TOKENS {
            return Err(Failure::new(FailureKind::BadGateway, "the provider's tokens are too long for a session"));
        }
        let optional = |secret: &Option<Secret>| secret.as_ref().map(Hidden::of).transpose();
        Ok(Self {
            provider: provider.into(),
            access_token: Hidden::of(access_token)?,
            is_dpop: *is_dpop,
            refresh_token: optional(refresh_token)?,
            id_token: optional(id_token)?,
            scope: scope.clone(),
            life: Life::begin(now, *expires_at, refresh_token.is_some()),
        })
    }

    /// Puts refreshed tokens in and gives the mark back; false, and nothing changed, when the mark is not `me`'s any more.
    pub(crate) fn renew(&mut self, me: &str, new: &Self, now: UnixSeconds) -> bool {
        let expires_at = new.life.expires_at.map(UnixSeconds::new);
        let mut life = self.life.clone();
        if !cycle::complete(&mut life, me, now, expires_at, new.refresh_token.is_some()) {
            return false;
        }
        *self = Self { life, provider: self.provider.clone(), ..new.clone() };
        true
    }

    pub(crate) fn access_token(&self) -> Secret {
        self.access_token.secret()
    }

    pub(crate) fn refresh_token(&self) -> Option<Secret> {
        self.refresh_token.as_ref().map(Hidden::secret)
    }

    pub(crate) fn id_token(&self) -> Option<Secret> {
        self.id_token.as_ref().map(Hidden::secret)
    }

    pub(crate) const fn is_dpop(&self) -> bool {
        self.is_dpop
    }

    pub(crate) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(crate) fn tokens(&self) -> TokenSet {
        TokenSet {
            access_token: self.access_token(),
            is_dpop: self.is_dpop,
            expires_at: self.life.expires_at.map(UnixSeconds::new),
            refresh_token: self.refresh_token(),
            id_token: self.id_token(),
            scope: self.scope.clone(),
        }
    }
}

/// Is text that is written to the sealed record and shown nowhere.
#[derive(Clone)]
struct Hidden(Zeroizing<String>);

impl Hidden {
    fn of(secret: &Secret) -> Result<Self, Failure> {
        let text = secret.expose_str().ok_or(Failure::new(FailureKind::BadGateway, "a token is not text"))?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    fn secret(&self) -> Secret {
        Secret::from(self.0.as_str())
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// A record has 256 KiB, and the application's data are in it too.
const MAX_TOKENS: usize = 64 * 1024;
