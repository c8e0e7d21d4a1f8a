use std::fmt;

use sekisho_core::Failure;
use sekisho_core::json::{JsonObject, JsonValue};
use subtle::ConstantTimeEq as _;

use super::{PasskeyReject, RelyingParty};
use crate::random::{random, to_base64};

/// Is what an authenticator has to sign so that its answer is fresh: 256 random bits, to be used for one ceremony.
///
/// `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PasskeyChallenge([u8; 32]);

impl PasskeyChallenge {
    /// Draws one.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Failure> {
        random().map(Self)
    }

    /// Takes over the bytes of a challenge that was kept. They must be random, and used once.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be kept where only we can read them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn to_text(&self) -> String {
        to_base64(&self.0)
    }
}

impl fmt::Debug for PasskeyChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasskeyChallenge(..)")
    }
}

#[derive(Clone, Copy)]
pub(super) enum CeremonyKind {
    Registration,
    Authentication,
}

/// Checks what the browser says of the ceremony ([WebAuthn §5.8.1](https://www.w3.org/TR/webauthn-3/#dictionary-client-data)): steps
/// 5–11 of registration, 8–14 of authentication. Members that are unknown are ignored, as they must be.
pub(super) fn check_client_data(
    party: &RelyingParty,
    kind: CeremonyKind,
    challenge: &PasskeyChallenge,
    bytes: &[u8],
) -> Result<(), PasskeyReject> {
    // 7.1: 5–6; 7.2: 8–9.
    let data = JsonObject::parse(bytes.to_vec()).map_err(|_| PasskeyReject::Malformed)?;
    let text = |name: &str| match data.get(name) {
        None => Err(PasskeyReject::Malformed),
        Some(value) => value.as_str().ok_or(PasskeyReject::Malformed),
    };
    // 7.1: 7; 7.2: 10.
    let expected = match kind {
        CeremonyKind::Registration => "webauthn.create",
        CeremonyKind::Authentication => "webauthn.get",
    };
    if text("type")? != expected {
        return Err(PasskeyReject::CeremonyType);
    }
    // 7.1: 8; 7.2: 11.
    if !bool::from(text("challenge")?.as_bytes().ct_eq(challenge.to_text().as_bytes())) {
        return Err(PasskeyReject::Challenge);
    }
    // 7.1: 9; 7.2: 12.
    if !party.has_origin(&text("origin")?) {
        return Err(PasskeyReject::Origin);
    }
    // 7.1: 10; 7.2: 13.
    match data.get("crossOrigin").map(JsonValue::as_bool) {
        None | Some(Some(false)) => {}
        Some(Some(true)) => return Err(PasskeyReject::CrossOrigin),
        Some(None) => return Err(PasskeyReject::Malformed),
    }
    // 7.1: 11; 7.2: 14.
    if data.get("topOrigin").is_some() {
        return Err(PasskeyReject::CrossOrigin);
    }
    Ok(())
}
