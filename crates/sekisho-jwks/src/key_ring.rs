use std::time::Duration;

use sekisho_core::UnixSeconds;
use serde_json::{Value, json};

use crate::sync::{RwLock, read, write};
use crate::{KeySet, SigningKey, VerifyingKey};

/// Holds the keys of an issuer through rotations: the next one, the current one, and retired ones.
///
/// | | signs | is published |
/// |---|---|---|
/// | next, after [`announce`](Self::announce) | no | yes |
/// | current | yes | yes |
/// | retired, after [`rotate`](Self::rotate) | no | for the [retention](Self::with_retention), then not |
///
/// A key is published before it signs by at least the [lead](Self::with_lead), so that a consumer that keeps the document no
/// longer than that knows every key whose signatures it meets; and it stays published after it signed, so that tokens live to their end.
/// Therefore: whatever [`current`](Self::current) signs is verified by every document of [`publish`](Self::publish) that is
/// less than one lead older than the signature, and by every later one until the retention has passed after the rotation,
/// unless the key is [withdrawn](Self::withdraw) or [replaced as stolen](Self::replace_stolen).
///
/// Reads take a shared lock for the time of a copy of two counters. All methods take `&self`; share it by `Arc`.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::time::Duration;
/// use sekisho_core::UnixSeconds;
/// use sekisho_jwks::{Algorithm, Backend, KeyRing, SigningKey};
///
/// let generate = || SigningKey::generate(Backend::default(), Algorithm::Ed25519);
/// let ring = KeyRing::new(generate()?).with_lead(Duration::from_secs(3600));
///
/// let noon = UnixSeconds::new(1_764_072_000);
/// ring.announce(generate()?, noon)?;
/// assert!(ring.rotate(noon).is_err()); // consumers may not know the next key yet
/// let one = noon.saturating_add(Duration::from_secs(3600));
/// ring.rotate(one)?;
/// assert!(ring.publish(one).starts_with(r#"{"keys":[{"#));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KeyRing {
    state: RwLock<State>,
    lead: Duration,
    retention: Duration,
}

#[derive(Debug)]
struct State {
    next: Option<Next>,
    current: SigningKey,
    retired: Vec<Retired>,
}

#[derive(Debug)]
struct Next {
    key: SigningKey,
    ready_at: UnixSeconds,
}

#[derive(Debug)]
struct Retired {
    key: VerifyingKey,
    /// Published before this instant.
    until: UnixSeconds,
}

impl KeyRing {
    /// Starts with a key that signs at once. A shared secret signs too, but is never published.
    #[must_use]
    pub fn new(current: SigningKey) -> Self {
        let state = State { next: None, current, retired: Vec::new() };
        Self { state: RwLock::new(state), lead: Duration::from_secs(3600), retention: Duration::from_secs(86_400) }
    }

    /// Makes the ring again that [`keys`](Self::keys) was asked of, after a restart for example.
    ///
    /// # Errors
    /// - [`KeyRingError::KeyIdTaken`]: two of the keys have one id.
    /// - [`KeyRingError::Full`]: more keys than consumers read.
    pub fn restore(keys: RingKeys) -> Result<Self, KeyRingError> {
        let RingKeys { current, next, retired } = keys;
        let next = next.map(|(key, ready_at)| Next { key, ready_at });
        let mut state = State { next: None, current, retired: Vec::new() };
        for (key, until) in retired {
            state.check_kid(key.kid().unwrap_or_default())?;
            state.retired.push(Retired { key, until });
        }
        if let Some(next) = &next {
            state.check_kid(next.key.kid())?;
        }
        state.next = next;
        let ring = Self::new(state.current.clone());
        Ok(Self { state: RwLock::new(state), ..ring })
    }

    /// Publishes a key for at least so long before it signs; default one hour.
    ///
    /// It must be no less than the time for which consumers keep the document: what `Cache-Control` says, or their own interval.
    #[must_use]
    pub fn with_lead(mut self, lead: Duration) -> Self {
        self.lead = lead;
        self
    }

    /// Keeps a key published for so long after it signed last; default 24 hours.
    ///
    /// It must be no less than the longest life of a token, and the consumers' leeway.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Returns the key that signs now. Ask each time; do not keep it.
    #[must_use]
    pub fn current(&self) -> SigningKey {
        read(&self.state).current.clone()
    }

    /// Returns everything that is in the ring, to be kept somewhere safe. Lead and retention are not in it.
    #[must_use]
    pub fn keys(&self) -> RingKeys {
        let state = read(&self.state);
        let State { next, current, retired } = &*state;
        RingKeys {
            current: current.clone(),
            next: next.as_ref().map(|next| (next.key.clone(), next.ready_at)),
            retired: retired.iter().map(|retired| (retired.key.clone(), retired.until)).collect(),
        }
    }

    /// Publishes the key that will sign after the next rotation, in the place of one announced before.
    ///
    /// # Errors
    /// - [`KeyRingError::KeyIdTaken`]: a key of the ring has this id.
    /// - [`KeyRingError::Full`]: more keys than consumers read.
    pub fn announce(&self, next: SigningKey, now: UnixSeconds) -> Result<(), KeyRingError> {
        let mut state = write(&self.state);
        state.forget(now);
        state.check_new(&next)?;
        state.next = Some(Next { key: next, ready_at: now.saturating_add(self.lead) });
        Ok(())
    }

    /// Lets the announced key sign from now on and retires the current one; returns the new one.
    ///
    /// # Errors
    /// Nothing changes then:
    /// - [`KeyRingError::NothingAnnounced`].
    /// - [`KeyRingError::TooEarly`]: the lead has not passed.
    pub fn rotate(&self, now: UnixSeconds) -> Result<SigningKey, KeyRingError> {
        let mut state = write(&self.state);
        match &state.next {
            None => return Err(KeyRingError::NothingAnnounced),
            Some(next) if now < next.ready_at => return Err(KeyRingError::TooEarly { ready_at: next.ready_at }),
            Some(_) => {}
        }
        state.forget(now);
        let Some(Next { key, ready_at: _ }) = state.next.take() else { return Err(KeyRingError::NothingAnnounced) };
        let former = std::mem::replace(&mut state.current, key.clone());
        let until = now.saturating_add(self.retention);
        state.retired.push(Retired { key: former.verifying_key(), until });
        Ok(key)
    }

    /// Replaces a stolen key: `key` signs from now on and the former current key is published no more.
    ///
    /// Every token of the former dies as consumers refresh, and new tokens fail until they do. An announced key stays announced.
    ///
    /// # Errors
    /// [`KeyRingError::KeyIdTaken`]: a key of the ring has this id.
    pub fn replace_stolen(&self, key: SigningKey, now: UnixSeconds) -> Result<(), KeyRingError> {
        let mut state = write(&self.state);
        state.forget(now);
        state.check_new(&key)?;
        state.current = key;
        Ok(())
    }

    /// Withdraws a stolen key that does not sign: a retired one, or the announced one. It is published no more.
    ///
    /// Its tokens die as consumers refresh. After the announced one is withdrawn, announce another before the next rotation. The ring
    /// does not remember the key: never bring it back.
    ///
    /// # Errors
    /// Nothing changes then:
    /// - [`KeyRingError::Current`]: it signs; [`replace_stolen`](Self::replace_stolen) is for that.
    /// - [`KeyRingError::UnknownKeyId`]: no key published at `now` has this id.
    pub fn withdraw(&self, kid: &str, now: UnixSeconds) -> Result<(), KeyRingError> {
        let mut state = write(&self.state);
        state.forget(now);
        if state.current.kid() == kid {
            return Err(KeyRingError::Current);
        }
        if state.next.take_if(|next| next.key.kid() == kid).is_some() {
            return Ok(());
        }
        let place = state.retired.iter().position(|retired| retired.key.kid() == Some(kid));
        state.retired.remove(place.ok_or(KeyRingError::UnknownKeyId)?);
        Ok(())
    }

    /// Lists what is published at `now`: the current key, the next, the retired ones.
    #[must_use]
    pub fn verifying_keys(&self, now: UnixSeconds) -> Vec<VerifyingKey> {
        let state = read(&self.state);
        let State { next, current, retired } = &*state;
        let next = next.iter().map(|next| next.key.verifying_key());
        let retired = retired.iter().filter(|retired| now < retired.until).map(|retired| retired.key.clone());
        std::iter::once(current.verifying_key()).chain(next).chain(retired).collect()
    }

    /// Writes the document to publish at `now` ([RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5)),
    /// to be served as `application/jwk-set+json`. It holds no private member and no shared secret.
    #[must_use]
    pub fn publish(&self, now: UnixSeconds) -> String {
        let keys: Vec<Value> = self.verifying_keys(now).iter().filter_map(VerifyingKey::public_jwk).collect();
        json!({ "keys": keys }).to_string()
    }
}

impl State {
    /// Drops what is no longer published.
    fn forget(&mut self, now: UnixSeconds) {
        self.retired.retain(|retired| now < retired.until);
    }

    /// Checks that a key may come in.
    fn check_new(&self, key: &SigningKey) -> Result<(), KeyRingError> {
        self.check_kid(key.kid())
    }

    fn check_kid(&self, kid: &str) -> Result<(), KeyRingError> {
        // A consumer would otherwise have two keys under one id, and might hold the wrong one.
        let announced = self.next.as_ref().map(|next| next.key.kid());
        let retired = self.retired.iter().filter_map(|retired| retired.key.kid());
        if retired.chain(announced).chain([self.current.kid()]).any(|taken| taken == kid) {
            return Err(KeyRingError::KeyIdTaken);
        }
        // The current key, the next one, and the present one retired.
        if self.retired.len() + 3 > KeySet::MAX_KEYS {
            return Err(KeyRingError::Full);
        }
        Ok(())
    }
}

/// Holds all keys of a [`KeyRing`], as [`KeyRing::keys`] returns and [`KeyRing::restore`] takes them.
#[derive(Clone, Debug)]
pub struct RingKeys {
    /// The key that signs.
    pub current: SigningKey,
    /// The announced key, and from when on it may sign.
    pub next: Option<(SigningKey, UnixSeconds)>,
    /// Retired keys, and before what instant each is published.
    pub retired: Vec<(VerifyingKey, UnixSeconds)>,
}

/// Says why a ring did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// No key was announced.
    #[error("no next key was announced")]
    NothingAnnounced,
    /// Consumers may not know the announced key yet.
    #[error("the next key may sign from {ready_at} on")]
    TooEarly {
        /// When it may sign.
        ready_at: UnixSeconds,
    },
    /// Another key of the ring has the same id.
    #[error("another key of the ring has this id")]
    KeyIdTaken,
    /// The key signs.
    #[error("the current key cannot be withdrawn, only replaced")]
    Current,
    /// No key of the ring has the id.
    #[error("no key of the ring has this id")]
    UnknownKeyId,
    /// More keys than consumers read.
    #[error("more than {} keys would be published", KeySet::MAX_KEYS)]
    Full,
}

#[cfg(test)]
mod tests;
