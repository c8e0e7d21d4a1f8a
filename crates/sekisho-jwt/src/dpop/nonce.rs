use std::fmt;
use std::time::Duration;

use sekisho_core::{ConfigError, Secret, UnixSeconds};
use sekisho_jwks::SigningKey;

use crate::{Algorithm, Backend, base64};

/// Makes nonces for DPoP proofs without remembering any ([RFC 9449 §8](https://www.rfc-editor.org/rfc/rfc9449#section-8)): each
/// is the time at which it was made, under HMAC-SHA-256.
///
/// Instances that share the secrets take each other's nonces. To change the secret without refusing anybody: give the new
/// one to all instances as another [to accept](Self::with_accepted), then as the one to make nonces with, then drop the old one.
///
/// # Examples
/// ```
/// # fn secret() -> sekisho_core::Secret { sekisho_core::Secret::new(vec![7; 32]) }
/// use sekisho_jwt::{Dpop, NonceKeys};
/// let dpop = Dpop::new().with_nonces(NonceKeys::new(secret()));
/// # let _ = dpop;
/// ```
#[derive(Clone)]
#[must_use]
pub struct NonceKeys {
    secrets: Vec<Secret>,
    lifetime: Duration,
}

impl NonceKeys {
    /// Makes nonces with this secret: at least 32 random bytes, used for nothing else.
    pub fn new(secret: Secret) -> Self {
        Self { secrets: vec![secret], lifetime: DEFAULT_LIFETIME }
    }

    /// Takes nonces made with this secret too. At most seven.
    pub fn with_accepted(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Sets for how long a nonce is taken, in whole seconds. Default 300 s; 10 s to 3,600 s.
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    pub(crate) fn build(self, backend: Backend) -> Result<Nonces, ConfigError> {
        let Self { secrets, lifetime } = self;
        if !(Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&lifetime) {
            return Err(ConfigError::new("nonces live for 10 s to 3,600 s"));
        }
        if secrets.len() > MOST_SECRETS {
            return Err(ConfigError::new("more than eight secrets for nonces"));
        }
        let load = |secret: &Secret| {
            SigningKey::hmac(backend, Algorithm::Hs256, secret.expose())
                .map_err(|error| ConfigError::new("a secret for nonces is no random 32 bytes").with_source(error))
        };
        let keys = secrets.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Nonces { keys, lifetime: lifetime.as_secs() })
    }
}

impl fmt::Debug for NonceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NonceKeys({} secrets, {:?})", self.secrets.len(), self.lifetime)
    }
}

/// Makes and takes nonces; the first key makes them.
pub(crate) struct Nonces {
    keys: Vec<SigningKey>,
    lifetime: u64,
}

impl Nonces {
    /// Makes a nonce: eight bytes of seconds since 1970 and the tag, in base64url. `None` when the backend fails.
    pub(crate) fn make(&self, now: UnixSeconds) -> Option<String> {
        let time = now.as_secs().to_be_bytes();
        let tag = self.keys.first()?.sign(&message(time)).ok()?;
        Some(base64::encode(&[&time[..], &tag].concat()))
    }

    /// Tells whether a nonce was made by one of the keys, not long ago.
    pub(crate) fn is_current(&self, nonce: &str, now: UnixSeconds) -> bool {
        let mut buffer = [0; LENGTH];
        let Some(bytes) = base64::decode_into(nonce, &mut buffer).filter(|bytes| bytes.len() == LENGTH) else {
            return false;
        };
        let Some((time, tag)) = bytes.split_first_chunk::<8>() else { return false };
        let (made, now) = (u64::from_be_bytes(*time), now.as_secs());
        // Another instance made it, whose clock may be a little ahead.
        let in_time = made <= now.saturating_add(SKEW) && now <= made.saturating_add(self.lifetime);
        let message = message(*time);
        in_time && self.keys.iter().any(|key| key.verifying_key().verify(Algorithm::Hs256, &message, tag))
    }
}

/// What the tag is of. The label keeps these tags apart from any other use of HMAC.
fn message(time: [u8; 8]) -> [u8; LABEL.len() + 8] {
    let mut message = [0; LABEL.len() + 8];
    let (label, rest) = message.split_at_mut(LABEL.len());
    label.copy_from_slice(LABEL);
    rest.copy_from_slice(&time);
    message
}

const LABEL: &[u8] = b"sekisho DPoP nonce v1\0";
const LENGTH: usize = 8 + 32;
const SKEW: u64 = 5;
const MOST_SECRETS: usize = 8;
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn at(offset: i64) -> UnixSeconds {
        UnixSeconds::new(NOW.as_secs().saturating_add_signed(offset))
    }

    fn keys(first: u8, others: &[u8]) -> Nonces {
        let secret = |byte: u8| Secret::new(vec![byte; 32]);
        let keys = others.iter().fold(NonceKeys::new(secret(first)), |keys, other| keys.with_accepted(secret(*other)));
        keys.build(Backend::default()).unwrap()
    }

    #[test]
    fn takes_its_own_nonces_for_their_time_alone() {
        let nonces = keys(1, &[]);
        let nonce = nonces.make(NOW).unwrap();
        for (offset, good) in [(-6, false), (-5, true), (0, true), (300, true), (301, false), (i64::MAX, false)] {
            assert_eq!(nonces.is_current(&nonce, at(offset)), good, "{offset}");
        }
        assert_ne!(nonce, nonces.make(at(1)).unwrap());
    }

    #[test]
    fn takes_those_of_instances_with_a_secret_in_common() {
        let (old, both, new) = (keys(1, &[]), keys(2, &[1]), keys(2, &[]));
        let (of_old, of_both) = (old.make(NOW).unwrap(), both.make(NOW).unwrap());
        assert!(both.is_current(&of_old, NOW) && both.is_current(&of_both, NOW) && new.is_current(&of_both, NOW));
        assert!(!new.is_current(&of_old, NOW) && !old.is_current(&of_both, NOW));
    }

    #[test]
    fn refuses_every_other_text() {
        let nonces = keys(1, &[]);
        let nonce = nonces.make(NOW).unwrap();
        for at in 0..nonce.len() {
            for replacement in ["A", "B", "=", "", "AA"] {
                let mut other = nonce.clone();
                other.replace_range(at..=at, replacement);
                assert!(other == nonce || !nonces.is_current(&other, NOW), "{at} {replacement}");
            }
        }
        for other in ["", "A", "0", &nonce.repeat(2), &format!("{nonce}="), &base64::encode(&[0; LENGTH])] {
            assert!(!nonces.is_current(other, NOW), "{other}");
        }
    }

    #[test]
    fn refuses_weak_secrets_and_odd_lifetimes() {
        let build = |keys: NonceKeys| keys.build(Backend::default()).is_ok();
        let good = || NonceKeys::new(Secret::new(vec![1; 32]));
        assert!(build(good()));
        assert!(!build(NonceKeys::new(Secret::from("short"))));
        assert!(!build(good().with_accepted(Secret::from(""))));
        assert!(!build((0..8).fold(good(), |keys, _| keys.with_accepted(Secret::new(vec![1; 32])))));
        assert!(!build(good().with_lifetime(Duration::from_secs(9))));
        assert!(!build(good().with_lifetime(Duration::from_secs(3601))));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", crate::Dpop::new().with_nonces(NonceKeys::new(Secret::new(vec![b's'; 32]))));
        assert!(!shown.contains("ssss") && !shown.contains("115"), "{shown}");
    }
}
