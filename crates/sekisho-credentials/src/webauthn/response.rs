use std::fmt;

use sekisho_core::json::{JsonObject, JsonValue};

use super::PasskeyReject;
use crate::random::from_base64;

/// Is what a browser answers to creation options: the JSON of
/// [`RegistrationResponseJSON`](https://www.w3.org/TR/webauthn-3/#dictdef-registrationresponsejson), read and not yet checked.
///
/// `Debug` shows nothing.
#[derive(Clone)]
pub struct RegistrationResponse {
    pub(super) credential_id: Vec<u8>,
    pub(super) client_data: Vec<u8>,
    pub(super) attestation_object: Vec<u8>,
    pub(super) transports: String,
}

impl RegistrationResponse {
    /// Reads the JSON that `PublicKeyCredential.toJSON()` writes: at most 64 KiB, with client data of at most 4 KiB.
    ///
    /// Key and algorithm are read out of the attestation object only, not out of the members that repeat them.
    ///
    /// # Errors
    /// - [`PasskeyReject::Malformed`]: too long, not JSON, a member twice, not unpadded base64url, something missing.
    /// - [`PasskeyReject::CredentialId`]: `id` and `rawId` differ.
    pub fn parse(json: &[u8]) -> Result<Self, PasskeyReject> {
        let object = parse_object(json)?;
        let (credential_id, response) = envelope(&object)?;
        Ok(Self {
            credential_id,
            client_data: bytes(response, "clientDataJSON", MOST_CLIENT_DATA)?,
            attestation_object: bytes(response, "attestationObject", MOST_BYTES)?,
            transports: transports(response)?,
        })
    }
}

impl fmt::Debug for RegistrationResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrationResponse(..)")
    }
}

/// Is what a browser answers to request options: the JSON of
/// [`AuthenticationResponseJSON`](https://www.w3.org/TR/webauthn-3/#dictdef-authenticationresponsejson), read and not yet checked.
///
/// `Debug` shows nothing.
#[derive(Clone)]
pub struct AssertionResponse {
    pub(super) credential_id: Vec<u8>,
    pub(super) client_data: Vec<u8>,
    pub(super) authenticator_data: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) user_handle: Vec<u8>,
}

impl AssertionResponse {
    /// Reads the JSON that `PublicKeyCredential.toJSON()` writes: at most 64 KiB, with client data of at most 4 KiB,
    /// authenticator data of at most 8 KiB and a signature of at most 1 KiB.
    ///
    /// # Errors
    /// - [`PasskeyReject::Malformed`]: too long, not JSON, a member twice, not unpadded base64url, something missing.
    /// - [`PasskeyReject::CredentialId`]: `id` and `rawId` differ.
    /// - [`PasskeyReject::UserHandle`]: there is none, which is so with passkeys that are not discoverable; or more than 64 bytes.
    pub fn parse(json: &[u8]) -> Result<Self, PasskeyReject> {
        let object = parse_object(json)?;
        let (credential_id, response) = envelope(&object)?;
        let client_data = bytes(response, "clientDataJSON", MOST_CLIENT_DATA)?;
        let authenticator_data = bytes(response, "authenticatorData", MOST_AUTHENTICATOR_DATA)?;
        let signature = bytes(response, "signature", MOST_SIGNATURE)?;
        let user_handle = bytes(response, "userHandle", 64).ok().filter(|handle| !handle.is_empty());
        let user_handle = user_handle.ok_or(PasskeyReject::UserHandle)?;
        Ok(Self { credential_id, client_data, authenticator_data, signature, user_handle })
    }

    /// Returns which passkey it claims to be of.
    #[must_use]
    pub fn credential_id(&self) -> &[u8] {
        &self.credential_id
    }
}

impl fmt::Debug for AssertionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssertionResponse(..)")
    }
}

fn parse_object(json: &[u8]) -> Result<JsonObject, PasskeyReject> {
    if json.len() > MOST_BYTES {
        return Err(PasskeyReject::Malformed);
    }
    JsonObject::parse(json.to_vec()).map_err(|_| PasskeyReject::Malformed)
}

/// Reads what both kinds have (7.1: 3; 7.2: 3).
fn envelope(object: &JsonObject) -> Result<(Vec<u8>, JsonValue<'_>), PasskeyReject> {
    let text = |name: &str| object.get(name).and_then(JsonValue::as_str).ok_or(PasskeyReject::Malformed);
    if text("type")? != "public-key" {
        return Err(PasskeyReject::Malformed);
    }
    let id = text("rawId")?;
    if id != text("id")? {
        return Err(PasskeyReject::CredentialId);
    }
    let id = from_base64(&id).ok_or(PasskeyReject::Malformed)?;
    Ok((id, object.get("response").ok_or(PasskeyReject::Malformed)?))
}

fn bytes(response: JsonValue<'_>, name: &str, most: usize) -> Result<Vec<u8>, PasskeyReject> {
    let text = response.member(name).and_then(JsonValue::as_str).ok_or(PasskeyReject::Malformed)?;
    from_base64(&text).filter(|bytes| bytes.len() <= most).ok_or(PasskeyReject::Malformed)
}

/// Reads the names of transports; unknown ones are kept, for there may be new ones.
fn transports(response: JsonValue<'_>) -> Result<String, PasskeyReject> {
    let Some(value) = response.member("transports") else { return Ok(String::new()) };
    let names = value.as_strings().ok_or(PasskeyReject::Malformed)?;
    let is_name = |name: &str| {
        (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if names.len() > 8 || !names.iter().all(|name| is_name(name)) {
        return Err(PasskeyReject::Malformed);
    }
    Ok(names.join(","))
}

const MOST_BYTES: usize = 65_536;
const MOST_CLIENT_DATA: usize = 4096;
const MOST_AUTHENTICATOR_DATA: usize = 8192;
const MOST_SIGNATURE: usize = 1024;
