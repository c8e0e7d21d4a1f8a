use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_jwks::{Algorithm, Backend, KeyRing, SigningKey};
use sekisho_jwt::Signer;
use serde::Serialize;

use crate::handle;

mod document;
mod file;
mod master;
mod store;

use document::Ring;
pub use file::FileKeyStore;
pub use master::MasterKey;
pub use store::{KeyStore, MemoryKeyStore, SealedKeys};

/// Holds the issuer's signing keys, one ring for each algorithm, sealed in a [`KeyStore`], through rotations without downtime.
///
/// A new key is published for the [lead](KeyRotation::lead) before it signs, an old one for the [retention](KeyRotation::retention) after.
/// Nothing happens by itself: call [`maintain`](Self::maintain) in every process, at least every ten minutes.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use sekisho_core::{Clock, SystemClock};
/// use sekisho_issuer::{IssuerKeys, KeyRotation, MasterKey, MemoryKeyStore};
/// use sekisho_jwks::Algorithm;
///
/// let master = MasterKey::generate()?; // keep `master.to_text()` where you keep secrets
/// let store = Arc::new(MemoryKeyStore::new());
/// let keys = IssuerKeys::open(store, master, &[Algorithm::Es256], KeyRotation::default(), SystemClock.now()).await?;
/// # assert!(keys.publish(SystemClock.now()).contains("ES256"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct IssuerKeys {
    store: Arc<dyn KeyStore>,
    master: MasterKey,
    rotation: KeyRotation,
    /// The wanted ones, the default one first.
    algorithms: Vec<Algorithm>,
    state: ArcSwap<State>,
}

/// Says when keys change.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeyRotation {
    /// For how long a key signs. Default 30 days.
    pub period: Duration,
    /// For how long it is published before that. Default 1 hour, at least 20 minutes: ten for the other processes to
    /// [take it over](IssuerKeys::maintain), and ten for which consumers are told to keep the set.
    pub lead: Duration,
    /// For how long it is published after that. Default 24 hours; no less than the longest token lives. ID tokens older than that are no hints for logging out.
    pub retention: Duration,
}

impl Default for KeyRotation {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self { period: 24 * 30 * HOUR, lead: HOUR, retention: 24 * HOUR }
    }
}

struct State {
    revision: u64,
    rings: Vec<Ring>,
}

/// Other processes take a change over within ten minutes, and consumers are told to keep the key set for ten more.
const SHORTEST_LEAD: Duration = Duration::from_secs(1200);
/// How often a change is tried when other processes change the keys at the same time.
const ATTEMPTS: usize = 4;

impl IssuerKeys {
    /// Opens what the store holds; makes and keeps a key for each algorithm that has none.
    ///
    /// The first algorithm is the default of clients. RSA keys get 2,048 bits.
    ///
    /// # Errors
    /// [`Failure`]: no algorithm, or one without a public key; the store does not answer; what it holds was sealed with another master key, or changed.
    pub async fn open(
        store: Arc<dyn KeyStore>,
        master: MasterKey,
        algorithms: &[Algorithm],
        rotation: KeyRotation,
        now: UnixSeconds,
    ) -> Result<Self, Failure> {
        let usable = |algorithm: &Algorithm| Algorithm::ASYMMETRIC.contains(algorithm);
        if algorithms.is_empty() || !algorithms.iter().all(usable) {
            return Err(misconfigured("the issuer needs at least one algorithm, each with a public key"));
        }
        if rotation.lead < SHORTEST_LEAD || rotation.period <= rotation.lead {
            return Err(misconfigured("keys must be published for 20 minutes before they sign, and sign for longer"));
        }
        let state = ArcSwap::from_pointee(State { revision: 0, rings: Vec::new() });
        let keys = Self { store, master, rotation, algorithms: algorithms.to_vec(), state };
        keys.change(now, |rings| {
            let mut changed = false;
            for algorithm in algorithms {
                if !rings.iter().any(|ring| ring.algorithm() == *algorithm) {
                    rings.push(Ring { ring: KeyRing::new(generate(*algorithm)?), signs_since: now });
                    changed = true;
                }
            }
            Ok(changed)
        })
        .await?;
        Ok(keys)
    }

    /// Announces and rotates what is due, and takes over what another process has changed. Idempotent; cheap when nothing is due.
    ///
    /// # Errors
    /// [`Failure`] as for [`open`](Self::open). Nothing has changed here then, and the present keys sign on.
    pub async fn maintain(&self, now: UnixSeconds) -> Result<(), Failure> {
        let KeyRotation { period, lead, retention: _ } = self.rotation;
        self.change(now, |rings| {
            let mut changed = false;
            for ring in rings {
                let age = now.since(ring.signs_since);
                if ring.ring.keys().next.is_none() && age >= period.saturating_sub(lead) {
                    ring.ring.announce(generate(ring.algorithm())?, now).map_err(broken)?;
                    changed = true;
                } else if age >= period && ring.ring.rotate(now).is_ok() {
                    ring.signs_since = now;
                    changed = true;
                }
            }
            Ok(changed)
        })
        .await
    }

    /// Replaces a stolen key at once: it is published no more, a new one of the same algorithm signs. Its tokens die as consumers refresh.
    ///
    /// # Errors
    /// [`Failure`]: no key with this id, or as for [`open`](Self::open).
    pub async fn replace_stolen(&self, kid: &str, now: UnixSeconds) -> Result<(), Failure> {
        self.change(now, |rings| {
            for ring in rings {
                if ring.ring.current().kid() == kid {
                    ring.ring.replace_stolen(generate(ring.algorithm())?, now).map_err(broken)?;
                    ring.signs_since = now;
                    return Ok(true);
                }
                if ring.ring.withdraw(kid, now).is_ok() {
                    return Ok(true);
                }
            }
            Err(misconfigured("no key of the issuer has this id"))
        })
        .await
    }

    /// Writes the key set to publish ([RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5)).
    #[must_use]
    pub fn publish(&self, now: UnixSeconds) -> String {
        let state = self.state.load();
        let keys = state.rings.iter().flat_map(|ring| ring.ring.verifying_keys(now));
        let keys: Vec<_> = keys.filter_map(|key| key.public_jwk()).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// Lists the algorithms, the default one first.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Signs claims with the current key of an algorithm.
    pub(crate) fn sign<C: Serialize>(&self, algorithm: Algorithm, kind: &str, claims: &C) -> Result<String, Failure> {
        let state = self.state.load();
        let ring = state.rings.iter().find(|ring| ring.algorithm() == algorithm);
        let key = ring.ok_or_else(|| misconfigured("the issuer has no key of the client's algorithm"))?.ring.current();
        let failed = |error| misconfigured("a token could not be signed").with_source(error);
        Signer::new(key).with_type(kind).sign(claims).map_err(failed)
    }

    /// Reads a token that this issuer signed: form, `typ`, key, signature. Times and all other claims are the caller's to check.
    pub(crate) fn read_own(&self, token: &str, kind: &str, now: UnixSeconds) -> Option<JsonObject> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = JsonObject::parse(handle::decode(header)?).ok()?;
        if ["crit", "b64", "zip"].iter().any(|name| header.get(name).is_some()) {
            return None;
        }
        let text = |name: &str| header.get(name)?.as_str();
        if text("typ")?.as_ref() != kind {
            return None;
        }
        let algorithm = Algorithm::from_name(&text("alg")?)?;
        let kid = text("kid")?;
        let state = self.state.load();
        let mut keys = state.rings.iter().flat_map(|ring| ring.ring.verifying_keys(now));
        let key = keys.find(|key| key.kid() == Some(&*kid) && key.fits(algorithm))?;
        if !key.verify(algorithm, signed.as_bytes(), &handle::decode(signature)?) {
            return None;
        }
        JsonObject::parse(handle::decode(payload)?).ok()
    }

    /// Authenticates what goes through a browser and comes back.
    pub(crate) const fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Loads, changes, and keeps; starts over when another process was quicker.
    async fn change<F>(&self, now: UnixSeconds, mut change: F) -> Result<(), Failure>
    where
        F: FnMut(&mut Vec<Ring>) -> Result<bool, Failure> + Send,
    {
        for _ in 0..ATTEMPTS {
            let sealed = self.store.load().await?;
            let revision = sealed.as_ref().map_or(0, |sealed| sealed.revision);
            let mut rings = match &sealed {
                Some(sealed) => document::open(&self.master, sealed, &self.rotation)?,
                None => Vec::new(),
            };
            if !change(&mut rings)? {
                self.take_over(revision, rings);
                return Ok(());
            }
            for ring in &mut rings {
                ring.ring = ring.restored(&self.rotation)?;
            }
            let revision = revision.saturating_add(1);
            let sealed = document::seal(&self.master, revision, &rings, now)?;
            if self.store.replace(&sealed).await? {
                self.take_over(revision, rings);
                return Ok(());
            }
        }
        Err(Failure::unavailable("the issuer's keys are being changed by others all the time"))
    }

    /// Uses these rings, unless newer ones are in use already.
    fn take_over(&self, revision: u64, rings: Vec<Ring>) {
        let next = Arc::new(State { revision, rings });
        self.state.rcu(|present| if present.revision > revision { Arc::clone(present) } else { Arc::clone(&next) });
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKeys").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Bounds a token of our own that is shown to us.
const LONGEST_TOKEN: usize = 16 * 1024;

fn generate(algorithm: Algorithm) -> Result<SigningKey, Failure> {
    SigningKey::generate(Backend::default(), algorithm).map_err(broken)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    misconfigured("the issuer's keys cannot be used").with_source(error)
}

const fn misconfigured(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

#[cfg(test)]
mod tests;
