use std::sync::Arc;

use quick_cache::sync::Cache;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Credential, OneTimeUse, Presentation, ProofFault, ProofHeader, Reject, ReplayGuard, UnixSeconds};
use sekisho_http::is_target;
use sekisho_jwks::VerifyingKey;
use subtle::ConstantTimeEq;

use super::LONGEST_LIFETIME;
use super::nonce::Nonces;
use crate::algorithms::AlgorithmSet;
use crate::base64::LONGEST_SIGNATURE;
use crate::compact::{Compact, parse_object};
use crate::header::Header;
use crate::{Algorithm, Backend, base64};

/// Checks DPoP proofs of one service.
pub(crate) struct ProofCheck {
    backend: Backend,
    algorithms: AlgorithmSet,
    lifetime: u64,
    skew: u64,
    replay: Arc<dyn ReplayGuard>,
    nonces: Option<Nonces>,
    is_required: bool,
    keys: Cache<Box<str>, Arc<ProofKey>>,
}

/// Is what the header of a proof says, by its encoded text: a client sends the same one with each of its proofs.
///
/// Only headers of proofs that were good get in, so nobody without a good token and its key can fill the memory.
struct ProofKey {
    algorithm: Algorithm,
    key: VerifyingKey,
}

impl ProofCheck {
    pub(crate) fn new(
        backend: Backend,
        algorithms: AlgorithmSet,
        (lifetime, skew): (u64, u64),
        replay: Arc<dyn ReplayGuard>,
        nonces: Option<Nonces>,
        is_required: bool,
    ) -> Self {
        let keys = Cache::new(REMEMBERED_KEYS);
        Self { backend, algorithms, lifetime, skew, replay, nonces, is_required, keys }
    }

    /// Tells whether tokens must be bound.
    pub(crate) const fn is_required(&self) -> bool {
        self.is_required
    }

    pub(crate) const fn replay(&self) -> &Arc<dyn ReplayGuard> {
        &self.replay
    }

    /// Writes the algorithms as they stand in `algs`. Ed25519 has two names ([RFC 9864](https://www.rfc-editor.org/rfc/rfc9864)).
    pub(crate) fn algorithm_names(&self) -> String {
        let mut names: Vec<&str> = self.algorithms.iter().map(Algorithm::name).collect();
        if self.algorithms.contains(Algorithm::Ed25519) {
            names.push("Ed25519");
        }
        names.join(" ")
    }

    pub(crate) fn nonce(&self, now: UnixSeconds) -> Option<String> {
        self.nonces.as_ref()?.make(now)
    }

    /// Makes every check of [RFC 9449 §4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3) but the last: whether the
    /// proof was used before. What it returns is the use to ask the memory for.
    ///
    /// - `bound_to`: the thumbprint in `cnf` of the token.
    ///
    /// # Errors
    /// In this order: [`Reject::InvalidProof`] for the header field, the form, `typ`, `alg`, `jwk`; [`Reject::ProofMismatch`];
    /// [`Reject::InvalidProof`] for the signature, the claims' form, `htm`, `htu`, `ath`; [`Reject::ProofNonce`];
    /// [`Reject::InvalidProof`] for the time and `jti`.
    pub(crate) fn examine(
        &self,
        credential: Credential<'_>,
        bound_to: &str,
        now: UnixSeconds,
    ) -> Result<OneTimeUse, Reject> {
        let shown = credential.presentation().ok_or(invalid(ProofFault::Absent))?;
        let proof = match shown.proof() {
            ProofHeader::One(proof) => proof,
            ProofHeader::Absent => return Err(invalid(ProofFault::Absent)),
            ProofHeader::Malformed => return Err(invalid(ProofFault::Several)),
        };
        if proof.len() > LONGEST_PROOF {
            return Err(MALFORMED);
        }
        let Compact { header: encoded, payload, signature, signing_input } =
            Compact::split(proof).map_err(|_| MALFORMED)?;
        let remembered = if encoded.len() <= LONGEST_REMEMBERED { self.keys.get(encoded) } else { None };
        let is_remembered = remembered.is_some();
        let signer = match remembered {
            Some(signer) => signer,
            None => Arc::new(self.read_header(encoded)?),
        };
        // Cheaper than the signature, so a thief of a token, without its key, costs us no more than this.
        let thumbprint = signer.key.thumbprint().ok_or(invalid(ProofFault::Key))?;
        if !bool::from(thumbprint.as_bytes().ct_eq(bound_to.as_bytes())) {
            return Err(Reject::ProofMismatch);
        }
        let mut buffer = [0; LONGEST_SIGNATURE];
        let signature = base64::decode_into(signature, &mut buffer).ok_or(MALFORMED)?;
        if !signer.key.verify(signer.algorithm, signing_input.as_bytes(), signature) {
            return Err(invalid(ProofFault::Signature));
        }
        let once = self.check_claims(payload, shown, credential.expose(), thumbprint, now)?;
        if !is_remembered && encoded.len() <= LONGEST_REMEMBERED {
            self.keys.insert(encoded.into(), signer);
        }
        Ok(once)
    }

    /// Reads `typ`, `alg` and `jwk` (checks 4, 5 and 7).
    fn read_header(&self, encoded: &str) -> Result<ProofKey, Reject> {
        let members = parse_object(encoded).map_err(|_| MALFORMED)?;
        // Byte for byte: nothing but a proof has this type, and no proof another.
        if members.get("typ").and_then(JsonValue::as_str).as_deref() != Some("dpop+jwt") {
            return Err(invalid(ProofFault::Type));
        }
        let header = Header::read(&members).map_err(|reject| match reject {
            Reject::Algorithm => invalid(ProofFault::Algorithm),
            _ => MALFORMED,
        })?;
        let algorithm = header.algorithm;
        // INVARIANT: shared secrets are not on the list, so what follows is about key pairs.
        if !self.algorithms.contains(algorithm) {
            return Err(invalid(ProofFault::Algorithm));
        }
        let jwk = members.get("jwk").filter(|jwk| jwk.kind() == JsonKind::Object).ok_or(invalid(ProofFault::Key))?;
        let jwk = JsonObject::parse(jwk.as_json().into()).map_err(|_| MALFORMED)?;
        // `from_jwk` refuses private keys; a shared secret is a key to it, and here it is none.
        if jwk.get("k").is_some() || jwk.get("kty").and_then(JsonValue::as_str).as_deref() == Some("oct") {
            return Err(invalid(ProofFault::Key));
        }
        let key = VerifyingKey::from_jwk(self.backend, &jwk).map_err(|_| invalid(ProofFault::Key))?;
        let key = key.with_algorithm(algorithm).map_err(|_| invalid(ProofFault::Algorithm))?;
        Ok(ProofKey { algorithm, key })
    }

    /// Checks what was signed (checks 3 and 8 to 12).
    fn check_claims(
        &self,
        payload: &str,
        shown: &Presentation<'_>,
        token: &str,
        thumbprint: &str,
        now: UnixSeconds,
    ) -> Result<OneTimeUse, Reject> {
        let claims = parse_object(payload).map_err(|_| MALFORMED)?;
        let text = |name: &str| claims.get(name).and_then(JsonValue::as_str);
        if text("htm").as_deref() != Some(shown.method()) {
            return Err(invalid(ProofFault::Method));
        }
        if !text("htu").is_some_and(|htu| is_target(&htu, shown.bases(), shown.path())) {
            return Err(invalid(ProofFault::Target));
        }
        let hash = base64::encode(&self.backend.sha256(token.as_bytes()));
        if text("ath").as_deref() != Some(&*hash) {
            return Err(invalid(ProofFault::TokenHash));
        }
        // Before the time: who needs a nonce learns it also when the clocks differ.
        if let Some(nonces) = &self.nonces
            && !text("nonce").is_some_and(|nonce| nonces.is_current(&nonce, now))
        {
            return Err(Reject::ProofNonce);
        }
        let until = self.check_time(&claims, now)?;
        let id =
            text("jti").filter(|id| !id.is_empty() && id.len() <= LONGEST_ID).ok_or(invalid(ProofFault::TokenId))?;
        let holder = self.backend.sha256(thumbprint.as_bytes());
        Ok(OneTimeUse::new(holder, self.backend.sha256(id.as_bytes()), until))
    }

    /// Checks that the proof was made just now, and returns the first second in which it would be too old for everybody.
    fn check_time(&self, claims: &JsonObject, now: UnixSeconds) -> Result<UnixSeconds, Reject> {
        const WRONG: Reject = invalid(ProofFault::Time);
        let now = now.as_secs();
        let date = |name: &str| claims.get(name).map(|value| value.as_numeric_date().ok_or(WRONG)).transpose();
        let made = date("iat")?.ok_or(WRONG)?;
        let until = made.saturating_add(self.lifetime).saturating_add(1);
        if made > now.saturating_add(self.skew) || now >= until {
            return Err(WRONG);
        }
        // No proof needs these; who writes them means them.
        let dead = date("exp")?.is_some_and(|exp| now >= exp.saturating_add(self.skew));
        let early = date("nbf")?.is_some_and(|nbf| nbf > now.saturating_add(self.skew));
        // INVARIANT: remembered for as long as anybody may take it; who shares the memory can have been told to take it for longer.
        let forgotten = made.saturating_add(LONGEST_LIFETIME.as_secs()).saturating_add(1);
        if dead || early { Err(WRONG) } else { Ok(UnixSeconds::new(forgotten)) }
    }
}

/// Reads a thumbprint of `cnf`: 32 bytes in canonical base64url.
pub(crate) fn thumbprint(value: JsonValue<'_>) -> Option<Box<str>> {
    let text = value.as_str()?;
    let mut buffer = [0; 32];
    base64::decode_into(&text, &mut buffer).filter(|bytes| bytes.len() == 32).map(|_| text.into())
}

const fn invalid(fault: ProofFault) -> Reject {
    Reject::InvalidProof(fault)
}

const MALFORMED: Reject = Reject::InvalidProof(ProofFault::Malformed);

/// Bounds a proof, in bytes. With a key of RSA-8192, it has about 5,000.
const LONGEST_PROOF: usize = 8 * 1024;
/// Bounds `jti`, in bytes.
const LONGEST_ID: usize = 256;
/// How many keys are remembered, and how long an encoded header may be for that: RSA-4096 has about 1,000 bytes.
const REMEMBERED_KEYS: usize = 1024;
const LONGEST_REMEMBERED: usize = 1536;
