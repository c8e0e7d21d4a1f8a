//! The example of the standard itself: [WebAuthn Level 3, "ES256 Credential with No Attestation"](https://www.w3.org/TR/webauthn-3/#sctn-test-vectors-none-es256).

use sekisho_credentials::{
    AccountId, AssertionResponse, Passkey, PasskeyChallenge, PasskeyReject, RegistrationResponse, RelyingParty,
    UserVerification, VerifiedAssertion,
};
use serde_json::json;

use crate::world::NOW;

fn party() -> RelyingParty {
    let party = RelyingParty::new("example.org", "Example", ["https://example.org"]).unwrap();
    // Its authenticator does not verify the user.
    party.with_user_verification(UserVerification::Preferred)
}

fn register(challenge: &str) -> Result<Passkey, PasskeyReject> {
    let object = base64(ATTESTATION_OBJECT);
    let response = json!({ "clientDataJSON": base64(CREATION), "attestationObject": object });
    let id = base64(CREDENTIAL_ID);
    let json = json!({ "type": "public-key", "id": id, "rawId": id, "response": response }).to_string();
    let new =
        party().check_registration(&self::challenge(challenge), &RegistrationResponse::parse(json.as_bytes())?)?;
    Ok(new.into_passkey(AccountId::parse("alice").unwrap(), String::new(), NOW))
}

fn log_in(passkey: &Passkey, challenge: &str) -> Result<VerifiedAssertion, PasskeyReject> {
    let response = json!({
        "clientDataJSON": base64(REQUEST),
        "authenticatorData": base64(AUTHENTICATOR_DATA),
        "signature": base64(SIGNATURE),
        "userHandle": base64_simd::URL_SAFE_NO_PAD.encode_to_string(b"alice"),
    });
    let id = base64(CREDENTIAL_ID);
    let json = json!({ "type": "public-key", "id": id, "rawId": id, "response": response }).to_string();
    party().check_assertion(&self::challenge(challenge), passkey, &AssertionResponse::parse(json.as_bytes())?)
}

#[test]
fn the_example_of_the_standard_registers_and_logs_in() {
    let passkey = register(CREATION_CHALLENGE).unwrap();
    assert_eq!((passkey.aaguid.to_vec(), passkey.is_backup_eligible), (bytes(AAGUID), true));
    assert!(log_in(&passkey, REQUEST_CHALLENGE).unwrap().to_use(NOW).is_backed_up);
    assert_eq!(register(REQUEST_CHALLENGE), Err(PasskeyReject::Challenge));
    assert_eq!(log_in(&passkey, CREATION_CHALLENGE), Err(PasskeyReject::Challenge));
}

fn challenge(hex: &str) -> PasskeyChallenge {
    PasskeyChallenge::from_bytes(bytes(hex).try_into().unwrap())
}

fn base64(hex: &str) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes(hex))
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

const CREATION_CHALLENGE: &str = "\
    00c30fb78531c464d2b6771dab8d7b603c01162f2fa486bea70f283ae556e130";
const CREDENTIAL_ID: &str = "\
    f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4";
const AAGUID: &str = "\
    8446ccb9ab1db374750b2367ff6f3a1f";
const CREATION: &str = "\
    7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a22414d4d5074345578784754\
    53746e63647134313759447742466938767049612d7077386f4f755657345441222c226f726967696e223a2268747470733a\
    2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c\
    69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c64\
    7320696e20746865206675747572652c207375636820617320746869733a20426b5165446a646354427258426941774a544c\
    453551227d";
const ATTESTATION_OBJECT: &str = "\
    a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8\
    edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020f91f391db4c9b2fde0ea70189cba3f\
    b63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb2\
    49c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220";
const REQUEST_CHALLENGE: &str = "\
    39c0e7521417ba54d43e8dc95174f423dee9bf3cd804ff6d65c857c9abf4d408";
const REQUEST: &str = "\
    7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f\
    334a5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f65\
    78616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d";
const AUTHENTICATOR_DATA: &str = "\
    bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000";
const SIGNATURE: &str = "\
    3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b93538174f5\
    75bf11a1dd5d78c6e486013f937295ea13653e331e87";
