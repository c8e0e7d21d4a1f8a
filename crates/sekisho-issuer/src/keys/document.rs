//! The key rings as one sealed document.

use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_jwks::{Algorithm, Backend, KeyRing, RingKeys, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::{KeyRotation, MasterKey, SealedKeys, broken, misconfigured};
use crate::handle;

const PURPOSE: &str = "sekisho issuer key rings";

/// Is the ring of one algorithm.
pub(super) struct Ring {
    pub(super) ring: KeyRing,
    pub(super) signs_since: UnixSeconds,
}

impl Ring {
    pub(super) fn algorithm(&self) -> Algorithm {
        self.ring.current().algorithm()
    }

    /// Makes the ring anew from its keys.
    pub(super) fn restored(&self, rotation: &KeyRotation) -> Result<KeyRing, Failure> {
        let ring = KeyRing::restore(self.ring.keys()).map_err(broken)?;
        Ok(ring.with_lead(rotation.lead).with_retention(rotation.retention))
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    rings: Vec<KeptRing>,
}

#[derive(Serialize, Deserialize)]
struct KeptRing {
    alg: String,
    current: Kept,
    signs_since: u64,
    next: Option<(Kept, u64)>,
    retired: Vec<(Value, u64)>,
}

/// Is a private key as base64url of its PKCS#8 form; wiped on drop.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Kept(String);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

pub(super) fn seal(master: &MasterKey, revision: u64, rings: &[Ring], now: UnixSeconds) -> Result<SealedKeys, Failure> {
    let kept = |key: &SigningKey| key.to_pkcs8_der().map(|der| Kept(handle::encode(&der))).map_err(broken);
    let mut document = Document { rings: Vec::new() };
    for Ring { ring, signs_since } in rings {
        let RingKeys { current, next, retired } = ring.keys();
        let retired = retired.iter().filter(|(_, until)| now < *until);
        document.rings.push(KeptRing {
            alg: current.algorithm().name().to_owned(),
            current: kept(&current)?,
            signs_since: signs_since.as_secs(),
            next: next.map(|(key, ready_at)| Ok::<_, Failure>((kept(&key)?, ready_at.as_secs()))).transpose()?,
            retired: retired.filter_map(|(key, until)| Some((key.public_jwk()?, until.as_secs()))).collect(),
        });
    }
    let plain = serde_json::to_vec(&document).map(Zeroizing::new).map_err(broken)?;
    let bytes = master.seal(PURPOSE, &revision.to_be_bytes(), &plain)?;
    Ok(SealedKeys { revision, bytes })
}

pub(super) fn open(master: &MasterKey, sealed: &SealedKeys, rotation: &KeyRotation) -> Result<Vec<Ring>, Failure> {
    let plain = master
        .open(PURPOSE, &sealed.revision.to_be_bytes(), &sealed.bytes)
        .ok_or_else(|| misconfigured("the issuer's keys were sealed with another master key, or changed"))?;
    // The text of a serde error could quote a key.
    let document: Document =
        serde_json::from_slice(&plain).map_err(|_| misconfigured("the issuer's keys are kept in another form"))?;
    document.rings.into_iter().map(|ring| ring.open(rotation)).collect()
}

impl KeptRing {
    fn open(self, rotation: &KeyRotation) -> Result<Ring, Failure> {
        let Self { alg, current, signs_since, next, retired } = self;
        let unknown = || misconfigured("the issuer's keys are kept in another form");
        let algorithm = Algorithm::from_name(&alg).ok_or_else(unknown)?;
        let open = |kept: &Kept| {
            let der = handle::decode(&kept.0).map(Zeroizing::new).ok_or_else(unknown)?;
            SigningKey::from_pkcs8_der(Backend::default(), algorithm, &der).map_err(broken)
        };
        let public = |jwk: &Value| {
            let jwk = JsonObject::from_serialize(jwk).map_err(|_| unknown())?;
            VerifyingKey::from_jwk(Backend::default(), &jwk).map_err(broken)
        };
        let mut keys = RingKeys { current: open(&current)?, next: None, retired: Vec::new() };
        if let Some((kept, ready_at)) = &next {
            keys.next = Some((open(kept)?, UnixSeconds::new(*ready_at)));
        }
        for (jwk, until) in &retired {
            keys.retired.push((public(jwk)?, UnixSeconds::new(*until)));
        }
        let ring = KeyRing::restore(keys).map_err(broken)?.with_lead(rotation.lead).with_retention(rotation.retention);
        Ok(Ring { ring, signs_since: UnixSeconds::new(signs_since) })
    }
}
