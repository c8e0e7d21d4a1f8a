use std::fmt;

use ciborium::Value;
use sekisho_core::UnixSeconds;

use super::authenticator_data::AuthenticatorData;
use super::cbor::read_whole_map;
use super::client_data::{CeremonyKind, check_client_data};
use super::{PasskeyChallenge, PasskeyReject, RegistrationResponse, RelyingParty, UserVerification};
use crate::{AccountId, Passkey};

/// Is a new passkey that passed every check but those that need the store: that nobody has it, and whose account it becomes.
///
/// Only [`RelyingParty::check_registration`] makes one. `Debug` shows nothing.
pub struct NewPasskey {
    credential_id: Vec<u8>,
    public_key: Vec<u8>,
    sign_count: u32,
    aaguid: [u8; 16],
    transports: String,
    is_user_verified: bool,
    is_backup_eligible: bool,
    is_backed_up: bool,
}

impl NewPasskey {
    /// Returns the record to be kept, by a store that refuses a credential id that anybody has (7.1: 26–27).
    #[must_use]
    pub fn into_passkey(self, account: AccountId, label: String, now: UnixSeconds) -> Passkey {
        let Self {
            credential_id,
            public_key,
            sign_count,
            aaguid,
            transports,
            is_user_verified,
            is_backup_eligible,
            is_backed_up,
        } = self;
        Passkey {
            credential_id,
            account,
            public_key,
            sign_count,
            aaguid,
            transports,
            is_user_verified,
            is_backup_eligible,
            is_backed_up,
            label,
            created_at: now,
            last_used_at: None,
        }
    }
}

impl fmt::Debug for NewPasskey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPasskey(..)")
    }
}

impl RelyingParty {
    /// Checks a registration, as far as it needs no store
    /// ([WebAuthn §7.1](https://www.w3.org/TR/webauthn-3/#sctn-registering-a-new-credential), steps 5 to 25 and 28).
    ///
    /// - `challenge`: what the creation options had, which were for this browser and account, minutes ago. That it is used once
    ///   is yours to see to.
    ///
    /// The attestation statement is not looked at, as steps 21 to 24 allow where attestation `none` will do.
    ///
    /// # Errors
    /// Stops at the first failed step, in this order: client data ([`Malformed`](PasskeyReject::Malformed),
    /// [`CeremonyType`](PasskeyReject::CeremonyType), [`Challenge`](PasskeyReject::Challenge), [`Origin`](PasskeyReject::Origin),
    /// [`CrossOrigin`](PasskeyReject::CrossOrigin)), [`Malformed`](PasskeyReject::Malformed) attestation object,
    /// [`RelyingParty`](PasskeyReject::RelyingParty), [`UserPresence`](PasskeyReject::UserPresence),
    /// [`UserVerification`](PasskeyReject::UserVerification), [`BackupState`](PasskeyReject::BackupState),
    /// [`Algorithm`](PasskeyReject::Algorithm), [`PublicKey`](PasskeyReject::PublicKey),
    /// [`CredentialId`](PasskeyReject::CredentialId).
    pub fn check_registration(
        &self,
        challenge: &PasskeyChallenge,
        response: &RegistrationResponse,
    ) -> Result<NewPasskey, PasskeyReject> {
        let RegistrationResponse { credential_id, client_data, attestation_object, transports } = response;
        // 5–11.
        check_client_data(self, CeremonyKind::Registration, challenge, client_data)?;
        // 12 is the hash that attestation statements sign, and so left out.
        // 13.
        let entries = read_whole_map(attestation_object)?;
        let authenticator_data = match entries.as_slice() {
            [
                (Value::Text(fmt), Value::Text(format)),
                (Value::Text(att_stmt), Value::Map(_)),
                (Value::Text(auth_data), Value::Bytes(bytes)),
            ] if (fmt.as_str(), att_stmt.as_str(), auth_data.as_str()) == ("fmt", "attStmt", "authData")
                && (1..=32).contains(&format.len()) =>
            {
                bytes
            }
            _ => return Err(PasskeyReject::Malformed),
        };
        let data = AuthenticatorData::parse(authenticator_data)?;
        // 14–17.
        self.check_flags(&data)?;
        let credential = data.credential.as_ref().ok_or(PasskeyReject::Malformed)?;
        // 18–19: nothing hangs on the backup flags here.
        // 20.
        credential.key()?;
        // 21–24: attestation "none" is what we take everything for.
        // 25. Less than 16 bytes can be guessed (WebAuthn §4, "credential ID").
        if !(16..=1023).contains(&credential.id.len()) || credential.id != credential_id.as_slice() {
            return Err(PasskeyReject::CredentialId);
        }
        // 26–27 and 29 are the store's. 28: extensions are ignored.
        Ok(NewPasskey {
            credential_id: credential.id.to_vec(),
            public_key: credential.public_key.to_vec(),
            sign_count: data.sign_count,
            aaguid: credential.aaguid,
            transports: transports.clone(),
            is_user_verified: data.is_user_verified,
            is_backup_eligible: data.is_backup_eligible,
            is_backed_up: data.is_backed_up,
        })
    }

    /// Checks relying party and flags: steps 14–17 of registration, 15–18 of authentication.
    pub(super) fn check_flags(&self, data: &AuthenticatorData<'_>) -> Result<(), PasskeyReject> {
        // 7.1: 14; 7.2: 15.
        if !self.is_id_hash(data.rp_id_hash) {
            return Err(PasskeyReject::RelyingParty);
        }
        // 7.1: 15; 7.2: 16.
        if !data.is_user_present {
            return Err(PasskeyReject::UserPresence);
        }
        // 7.1: 16; 7.2: 17.
        if self.user_verification == UserVerification::Required && !data.is_user_verified {
            return Err(PasskeyReject::UserVerification);
        }
        // 7.1: 17; 7.2: 18.
        if data.is_backed_up && !data.is_backup_eligible {
            return Err(PasskeyReject::BackupState);
        }
        Ok(())
    }
}
