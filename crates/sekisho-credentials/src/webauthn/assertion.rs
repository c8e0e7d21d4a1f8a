use aws_lc_rs::digest::{SHA256, digest};
use sekisho_core::UnixSeconds;
use subtle::ConstantTimeEq as _;

use super::authenticator_data::AuthenticatorData;
use super::client_data::{CeremonyKind, check_client_data};
use super::key::CoseKey;
use super::{AssertionResponse, CounterPolicy, PasskeyChallenge, PasskeyReject, RelyingParty};
use crate::{Passkey, PasskeyUse};

/// Is proof that somebody used a passkey for a challenge. Only [`RelyingParty::check_assertion`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    sign_count: u32,
    is_backed_up: bool,
    is_user_verified: bool,
}

impl VerifiedAssertion {
    /// Tells whether the authenticator verified the user.
    #[must_use]
    pub const fn is_user_verified(&self) -> bool {
        self.is_user_verified
    }

    /// Returns what the use changes in the record (7.2: 24).
    #[must_use]
    pub const fn to_use(&self, now: UnixSeconds) -> PasskeyUse {
        PasskeyUse { sign_count: self.sign_count, is_backed_up: self.is_backed_up, at: now }
    }
}

impl RelyingParty {
    /// Checks an authentication, as far as it needs no store
    /// ([WebAuthn §7.2](https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion), steps 6 to 23).
    ///
    /// - `challenge`: what the request options had, which were for this browser, minutes ago. That it is used once is yours to
    ///   see to.
    /// - `passkey`: the record with [`AssertionResponse::credential_id`]. That its account is the right one, if one was named,
    ///   is yours to see to.
    ///
    /// # Errors
    /// Stops at the first failed step, in this order: [`Unknown`](PasskeyReject::Unknown) when the record is of another passkey,
    /// [`UserHandle`](PasskeyReject::UserHandle), client data ([`Malformed`](PasskeyReject::Malformed),
    /// [`CeremonyType`](PasskeyReject::CeremonyType), [`Challenge`](PasskeyReject::Challenge), [`Origin`](PasskeyReject::Origin),
    /// [`CrossOrigin`](PasskeyReject::CrossOrigin)), [`Malformed`](PasskeyReject::Malformed) authenticator data,
    /// [`RelyingParty`](PasskeyReject::RelyingParty), [`UserPresence`](PasskeyReject::UserPresence),
    /// [`UserVerification`](PasskeyReject::UserVerification), [`BackupState`](PasskeyReject::BackupState),
    /// [`PublicKey`](PasskeyReject::PublicKey) or [`Algorithm`](PasskeyReject::Algorithm) when the record's is not what
    /// registration keeps, [`Signature`](PasskeyReject::Signature), [`Counter`](PasskeyReject::Counter).
    pub fn check_assertion(
        &self,
        challenge: &PasskeyChallenge,
        passkey: &Passkey,
        response: &AssertionResponse,
    ) -> Result<VerifiedAssertion, PasskeyReject> {
        let AssertionResponse { credential_id, client_data, authenticator_data, signature, user_handle } = response;
        // 5 does not apply: the options list nobody's passkeys. 6, of which finding the record is the caller's.
        if passkey.credential_id != *credential_id {
            return Err(PasskeyReject::Unknown);
        }
        if !bool::from(passkey.account.as_str().as_bytes().ct_eq(user_handle)) {
            return Err(PasskeyReject::UserHandle);
        }
        // 7–14.
        check_client_data(self, CeremonyKind::Authentication, challenge, client_data)?;
        let data = AuthenticatorData::parse(authenticator_data)?;
        if data.credential.is_some() {
            return Err(PasskeyReject::Malformed);
        }
        // 15–18.
        self.check_flags(&data)?;
        // 19. Eligibility never changes.
        if data.is_backup_eligible != passkey.is_backup_eligible {
            return Err(PasskeyReject::BackupState);
        }
        // 20–21.
        let hash = digest(&SHA256, client_data);
        let message = [authenticator_data.as_slice(), hash.as_ref()].concat();
        if !CoseKey::parse(&passkey.public_key)?.is_signed(&message, signature) {
            return Err(PasskeyReject::Signature);
        }
        // 22.
        let is_counted = data.sign_count != 0 || passkey.sign_count != 0;
        if is_counted && data.sign_count <= passkey.sign_count {
            match self.counter_policy {
                CounterPolicy::Refuse => return Err(PasskeyReject::Counter),
                CounterPolicy::Warn => {
                    tracing::warn!(account = %passkey.account, "the signature counter of a passkey has not grown");
                }
            }
        }
        // 23: extensions are ignored.
        Ok(VerifiedAssertion {
            sign_count: data.sign_count.max(passkey.sign_count),
            is_backed_up: data.is_backed_up,
            is_user_verified: data.is_user_verified,
        })
    }
}
