use super::PasskeyReject;
use super::cbor::{read_map, read_whole_map};
use super::key::CoseKey;

/// Is what an authenticator says ([WebAuthn §6.1](https://www.w3.org/TR/webauthn-3/#sctn-authenticator-data)).
pub(super) struct AuthenticatorData<'a> {
    pub(super) rp_id_hash: &'a [u8; 32],
    pub(super) is_user_present: bool,
    pub(super) is_user_verified: bool,
    pub(super) is_backup_eligible: bool,
    pub(super) is_backed_up: bool,
    pub(super) sign_count: u32,
    /// The new credential, of which only a registration tells.
    pub(super) credential: Option<AttestedCredential<'a>>,
}

pub(super) struct AttestedCredential<'a> {
    pub(super) aaguid: [u8; 16],
    pub(super) id: &'a [u8],
    pub(super) public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of `bytes`. Extensions are read, for they must be well formed, and ignored: we ask for none.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PasskeyReject> {
        let (rp_id_hash, rest) = take::<32>(bytes)?;
        let (&[flags], rest) = take::<1>(rest)?;
        let (sign_count, rest) = take::<4>(rest)?;
        let has = |flag: u8| flags & flag != 0;
        let (credential, rest) = if has(0x40) {
            let (credential, rest) = AttestedCredential::parse(rest)?;
            (Some(credential), rest)
        } else {
            (None, rest)
        };
        if has(0x80) {
            read_whole_map(rest)?;
        } else if !rest.is_empty() {
            return Err(PasskeyReject::Malformed);
        }
        Ok(Self {
            rp_id_hash,
            is_user_present: has(0x01),
            is_user_verified: has(0x04),
            is_backup_eligible: has(0x08),
            is_backed_up: has(0x10),
            sign_count: u32::from_be_bytes(*sign_count),
            credential,
        })
    }
}

impl<'a> AttestedCredential<'a> {
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), PasskeyReject> {
        let (aaguid, rest) = take::<16>(bytes)?;
        let (length, rest) = take::<2>(rest)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length).ok_or(PasskeyReject::Malformed)?;
        let (_, behind) = read_map(rest)?;
        let public_key = rest.get(..rest.len() - behind.len()).ok_or(PasskeyReject::Malformed)?;
        Ok((Self { aaguid: *aaguid, id, public_key }, behind))
    }

    /// Reads the key.
    pub(super) fn key(&self) -> Result<CoseKey, PasskeyReject> {
        CoseKey::parse(self.public_key)
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), PasskeyReject> {
    bytes.split_first_chunk().ok_or(PasskeyReject::Malformed)
}
