use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, ReplayGuard};

use crate::algorithms::AlgorithmSet;
use crate::{Algorithm, Backend, MemoryReplayGuard};

mod nonce;
mod proof;
mod signer;

pub use nonce::NonceKeys;
pub(crate) use proof::{ProofCheck, thumbprint};
pub use signer::DpopSigner;

/// Says how DPoP proofs are checked ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)): that whoever sends a token also has
/// the key that the token is bound to.
///
/// A proof is good once, for one method, one URL and one token, and for a minute. Everything here has a safe default. Clones
/// share the memory of used proofs: give clones of one `Dpop` to all authenticators of a service.
///
/// # Examples
/// ```
/// use sekisho_jwt::{Dpop, Jwt};
/// let verifier = Jwt::issuer("https://id.example").audience("orders-api").with_dpop(Dpop::new()).build()?;
/// // and at the checkpoint: `.accept(verifier).with_public_url("https://api.example")`
/// # let _ = verifier;
/// # Ok::<(), sekisho_jwt::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Dpop {
    algorithms: AlgorithmSet,
    lifetime: Duration,
    skew: Duration,
    replay: Arc<dyn ReplayGuard>,
    nonces: Option<NonceKeys>,
    is_required: bool,
}

impl Dpop {
    /// Starts with ES256, ES384, EdDSA and PS256, a lifetime of 60 s, a skew of 5 s, a memory of this process, and no nonces.
    pub fn new() -> Self {
        Self {
            algorithms: AlgorithmSet::new([Algorithm::Es256, Algorithm::Es384, Algorithm::Ed25519, Algorithm::Ps256]),
            lifetime: DEFAULT_LIFETIME,
            skew: DEFAULT_SKEW,
            replay: Arc::new(MemoryReplayGuard::new()),
            nonces: None,
            is_required: false,
        }
    }

    /// Sets by which algorithms proofs may be signed; they stand in challenges, in the order of [`Algorithm::ALL`]. Shared
    /// secrets are refused. `RS256` is left out by default, as FAPI 2.0 leaves it out.
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = AlgorithmSet::new(algorithms);
        self
    }

    /// Sets for how long a proof is taken after its `iat`, in whole seconds. Default 60 s; 1 s to 300 s. Used ones are
    /// remembered for 300 s in any case, so that clones with another lifetime know them too.
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets by how much the client's clock may be ahead of ours, in whole seconds. Default 5 s, at most 60 s.
    pub const fn with_skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }

    /// Remembers used proofs elsewhere. Default: a [`MemoryReplayGuard`] of its own.
    ///
    /// Instances of a service that do not share a memory take the same proof once each, and so does an instance that was
    /// started anew.
    pub fn with_replay_guard(mut self, replay: Arc<dyn ReplayGuard>) -> Self {
        self.replay = replay;
        self
    }

    /// Demands a nonce of this service in each proof ([RFC 9449 §9](https://www.rfc-editor.org/rfc/rfc9449#section-9)), so
    /// that nobody can make proofs for later. Default: none. A client learns the nonce from the refusal of its first
    /// request, and a new one when that has got old.
    pub fn with_nonces(mut self, nonces: NonceKeys) -> Self {
        self.nonces = Some(nonces);
        self
    }

    /// Refuses tokens that are not bound to a key. Default: a bearer token is still taken as one.
    pub const fn requiring_proof(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Loads keys and checks the settings.
    pub(crate) fn build(self, backend: Backend) -> Result<ProofCheck, ConfigError> {
        let Self { algorithms, lifetime, skew, replay, nonces, is_required } = self;
        if !(Duration::from_secs(1)..=LONGEST_LIFETIME).contains(&lifetime) || skew > LONGEST_SKEW {
            return Err(ConfigError::new("DPoP proofs live for 1 s to 300 s, with a skew of at most 60 s"));
        }
        if algorithms.is_empty() {
            return Err(ConfigError::new("no algorithm is allowed for DPoP proofs, so no proof could be good"));
        }
        // RFC 9449 §4.3, check 5: an asymmetric algorithm that the application supports.
        if let Some(bad) = algorithms.iter().find(|algorithm| algorithm.is_symmetric() || !backend.supports(*algorithm))
        {
            return Err(ConfigError::new(format!("DPoP proofs cannot be signed by {bad} here")));
        }
        let nonces = nonces.map(|nonces| nonces.build(backend)).transpose()?;
        let (lifetime, skew) = (lifetime.as_secs(), skew.as_secs());
        Ok(ProofCheck::new(backend, algorithms, (lifetime, skew), replay, nonces, is_required))
    }
}

impl Default for Dpop {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithms, lifetime, skew, replay, nonces, is_required } = self;
        f.debug_struct("Dpop")
            .field("algorithms", &algorithms.iter().collect::<Vec<_>>())
            .field("lifetime", lifetime)
            .field("skew", skew)
            .field("replay", replay)
            .field("nonces", nonces)
            .field("is_required", is_required)
            .finish()
    }
}

const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
const LONGEST_LIFETIME: Duration = Duration::from_secs(300);
const DEFAULT_SKEW: Duration = Duration::from_secs(5);
const LONGEST_SKEW: Duration = Duration::from_secs(60);
