//! Any bytes as a browser's answers, as attestation object, and as authenticator data with the right beginning.
#![no_main]

use std::sync::LazyLock;

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use libfuzzer_sys::fuzz_target;
use sekisho_credentials::{
    AccountId, AssertionResponse, Passkey, PasskeyChallenge, RegistrationResponse, RelyingParty,
};
use sekisho_fuzz::NOW;

static PARTY: LazyLock<RelyingParty> = LazyLock::new(|| {
    RelyingParty::new("example.com", "Example", ["https://example.com"]).expect("a good configuration")
});

fn client_data(kind: &str, challenge: &PasskeyChallenge) -> String {
    let challenge = BASE64.encode_to_string(challenge.as_bytes());
    let text = format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"https://example.com"}}"#);
    BASE64.encode_to_string(text)
}

fn registration(id: &[u8], challenge: &PasskeyChallenge, object: &[u8]) -> Option<Passkey> {
    let (id, object) = (BASE64.encode_to_string(id), BASE64.encode_to_string(object));
    let client_data = client_data("webauthn.create", challenge);
    let json = format!(
        r#"{{"type":"public-key","id":"{id}","rawId":"{id}","response":{{"clientDataJSON":"{client_data}","attestationObject":"{object}"}}}}"#
    );
    let response = RegistrationResponse::parse(json.as_bytes()).ok()?;
    let new = PARTY.check_registration(challenge, &response).ok()?;
    Some(new.into_passkey(AccountId::parse("alice")?, String::new(), NOW))
}

fuzz_target!(|bytes: &[u8]| {
    let challenge = PasskeyChallenge::from_bytes([7; 32]);
    let _ = RegistrationResponse::parse(bytes);
    let _ = AssertionResponse::parse(bytes);

    let (id, rest) = bytes.split_at(bytes.len().min(16));
    // The hash of "example.com", all flags that are wanted, and a counter.
    const BEGINNING: [u8; 37] = [
        0xa3, 0x79, 0xa6, 0xf6, 0xee, 0xaf, 0xb9, 0xa5, 0x5e, 0x37, 0x8c, 0x11, 0x80, 0x34, 0xe2, 0x75, 0x1e, 0x68,
        0x2f, 0xab, 0x9f, 0x2d, 0x30, 0xab, 0x13, 0xd2, 0x12, 0x55, 0x86, 0xce, 0x19, 0x47, 0x45, 0, 0, 0, 0,
    ];
    let data = [&BEGINNING[..], &[0; 16], &[0, 16], id, rest].concat();
    let length = u16::try_from(data.len()).unwrap_or_default().to_be_bytes();
    let object = [&[0xa3][..], b"\x63fmt\x64none\x67attStmt\xa0\x68authData\x59", &length, &data].concat();
    for object in [&object[..], bytes] {
        let Some(passkey) = registration(id, &challenge, object) else { continue };
        assert!((16..=1023).contains(&passkey.credential_id.len()), "no other id is kept");
        assert!(passkey.public_key.len() <= 2048, "no longer key is kept");
        // Whose key it is nobody knows here: no signature is good.
        for signature in [&[0; 64][..], rest] {
            let id = BASE64.encode_to_string(&passkey.credential_id);
            let client_data = client_data("webauthn.get", &challenge);
            let (signature, data) = (
                BASE64.encode_to_string(signature),
                BASE64.encode_to_string([&BEGINNING[..32], &[5, 0, 0, 0, 1]].concat()),
            );
            let json = format!(
                r#"{{"type":"public-key","id":"{id}","rawId":"{id}","response":{{"clientDataJSON":"{client_data}","authenticatorData":"{data}","signature":"{signature}","userHandle":"YWxpY2U"}}}}"#
            );
            let response = AssertionResponse::parse(json.as_bytes()).ok();
            assert!(response.is_none_or(|response| PARTY.check_assertion(&challenge, &passkey, &response).is_err()));
        }
    }
});
