//! What a load is, and how it can fail.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::Failure;
use sekisho_http::{HttpError, address::UrlError};

use super::cache::{Loaded, Tag};
use crate::key::Leak;
use crate::{KeyError, KeySet, KeySetError, SkippedKey};

/// Loads the keys once. `tag` is of the version at hand.
#[async_trait]
pub(super) trait Load: Send + Sync + fmt::Debug {
    async fn load(&self, tag: Option<Arc<Tag>>) -> Result<Loaded, LoadError>;

    /// Returns where from, for logs: an address or path of the configuration.
    fn origin(&self) -> &str;
}

/// Says why no keys were loaded. Holds nothing of a token, and of the provider's answer no more than a
/// cut and escaped issuer or key id.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the provider cannot be asked")]
    Http(#[from] HttpError),
    #[error("the provider did not answer in time")]
    Timeout,
    #[error("the provider redirects, with status {0}; redirects are not followed")]
    Redirect(u16),
    #[error("the provider answered with status {status}")]
    Status {
        status: u16,
        /// `Retry-After` of a provider that is busy or away.
        retry_after: Option<Duration>,
    },
    #[error("the provider answered that nothing changed, without having been asked that")]
    UnaskedUnchanged,
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    #[error("the key set cannot be read")]
    Set(#[from] KeySetError),
    #[error("the key set has no usable key among {among}{}", first_reason(first.as_ref()))]
    NoUsableKey { among: usize, first: Option<SkippedKey>, leaked: Vec<Leak> },
    #[error("of every key of the set the private half was published before; new keys are needed")]
    OnlyLeaked,
    #[error("the discovery document is not a JSON object with the strings `issuer` and `jwks_uri`")]
    Document,
    #[error("the discovery document is of the issuer \"{0}\", which is not the one configured")]
    OtherIssuer(String),
    #[error("the `jwks_uri` of the discovery document cannot be used")]
    JwksUri(#[source] UrlError),
    #[error("the key file cannot be read")]
    File(#[source] std::io::Error),
    #[error("the key file is not a regular file")]
    NotAFile,
    #[error("the key file holds no key that can be used")]
    Key(#[from] KeyError),
    /// Of which public key is not looked into.
    #[error("the key file holds a private key")]
    PrivateKeyFile,
}

fn first_reason(first: Option<&SkippedKey>) -> String {
    first.map(|skipped| format!("; {skipped}")).unwrap_or_default()
}

impl LoadError {
    /// Says that a set has no usable key, and why the first is none.
    pub(super) fn no_usable_key(set: &KeySet) -> Self {
        let (among, first, leaked) = (set.skipped().len(), set.skipped().first().cloned(), set.leaked().to_vec());
        Self::NoUsableKey { among, first, leaked }
    }

    /// Lists keys that must not be trusted any more although nothing was loaded.
    pub(super) fn leaked(&self) -> &[Leak] {
        match self {
            Self::NoUsableKey { leaked, .. } => leaked,
            _ => &[],
        }
    }

    /// Tells whether no key at hand may be trusted any more.
    pub(super) const fn taints_all(&self) -> bool {
        matches!(self, Self::PrivateKeyFile)
    }

    /// Tells whether the provider seems to be away or starting, rather than wrong.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Http(HttpError::Connect(_) | HttpError::Timeout | HttpError::Broken(_))
                | Self::Timeout
                | Self::Status { status: 502..=504, .. }
        )
    }

    /// Returns how long the provider asks to be let alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn into_failure(self) -> Failure {
        Failure::unavailable("the keys of the issuer cannot be loaded").with_source(self)
    }
}
