use std::fmt;

use sekisho_core::UnixSeconds;

use crate::AccountId;

/// Is what a store keeps of a passkey ([WebAuthn §4](https://www.w3.org/TR/webauthn-2/#public-key-credential-source)).
///
/// `Passkeys` (feature `passkeys`) makes and checks them; the columns are what any relying party needs. The user handle is
/// the account's id. `Debug` shows neither id nor key nor label.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break every store")]
pub struct Passkey {
    /// The credential id, unique among all accounts: 1 to 1,023 bytes.
    pub credential_id: Vec<u8>,
    /// Whose it is.
    pub account: AccountId,
    /// The public key as a COSE key, as the authenticator sent it: at most 2,048 bytes.
    pub public_key: Vec<u8>,
    /// The last signature counter; 0 from authenticators that do not count.
    pub sign_count: u32,
    /// The model of the authenticator.
    pub aaguid: [u8; 16],
    /// How the client reaches it, as it said: names joined by commas, such as `hybrid,internal`.
    pub transports: String,
    /// Whether user verification was done at registration.
    pub is_user_verified: bool,
    /// Whether it may be on several devices; never changes.
    pub is_backup_eligible: bool,
    /// Whether it was on several devices when last used.
    pub is_backed_up: bool,
    /// What its owner calls it.
    pub label: String,
    /// When it was registered.
    pub created_at: UnixSeconds,
    /// When it was last used, if ever.
    pub last_used_at: Option<UnixSeconds>,
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passkey")
            .field("account", &self.account)
            .field("sign_count", &self.sign_count)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// Is what a use of a passkey changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break every store")]
pub struct PasskeyUse {
    /// The signature counter of the assertion.
    pub sign_count: u32,
    /// Whether it is on several devices.
    pub is_backed_up: bool,
    /// When.
    pub at: UnixSeconds,
}
