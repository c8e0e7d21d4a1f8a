//! Steps of §7.2, each with one thing changed, and signed as changed.

use ciborium::Value;
use sekisho_credentials::testing::authenticator::{
    AT, BE, BS, ED, SoftAlgorithm, SoftAssertion, SoftAuthenticator, UP, UV, cbor,
};
use sekisho_credentials::{
    AccountId, AssertionResponse, CounterPolicy, Passkey, PasskeyReject, PasskeyUse, RegistrationResponse,
    RelyingParty, UserVerification, VerifiedAssertion,
};
use serde_json::json;

use crate::site::{ORIGIN, challenge, options, party};
use crate::world::{NOW, at};

struct Owner {
    authenticator: SoftAuthenticator,
    passkey: Passkey,
}

impl Owner {
    fn new(algorithm: SoftAlgorithm) -> Self {
        let authenticator = SoftAuthenticator::with_algorithm(algorithm);
        let answer = authenticator.register(&options(), ORIGIN);
        let response = RegistrationResponse::parse(&answer.to_json()).unwrap();
        let new = party().check_registration(&challenge(), &response).unwrap();
        let account = AccountId::parse("alice").unwrap();
        Self { authenticator, passkey: new.into_passkey(account, String::new(), NOW) }
    }

    fn answer(&self) -> SoftAssertion {
        self.authenticator.log_in(&options(), ORIGIN, "alice")
    }

    fn check(&self, party: &RelyingParty, json: &[u8]) -> Result<VerifiedAssertion, PasskeyReject> {
        party.check_assertion(&challenge(), &self.passkey, &AssertionResponse::parse(json)?)
    }

    fn checked(&self, change: impl FnOnce(&mut SoftAssertion)) -> Result<VerifiedAssertion, PasskeyReject> {
        let mut answer = self.answer();
        change(&mut answer);
        self.check(&party(), &answer.to_json(&self.authenticator))
    }
}

fn refused(reason: PasskeyReject, change: impl FnOnce(&mut SoftAssertion)) {
    assert_eq!(Owner::new(SoftAlgorithm::Es256).checked(change), Err(reason));
}

#[test]
fn accepts_each_algorithm_and_tells_what_changes() {
    for algorithm in [SoftAlgorithm::Es256, SoftAlgorithm::EdDsa, SoftAlgorithm::Rs256] {
        let verified = Owner::new(algorithm).checked(|_| {}).unwrap();
        assert!(verified.is_user_verified());
        assert_eq!(verified.to_use(at(5)), PasskeyUse { sign_count: 2, is_backed_up: false, at: at(5) });
    }
}

#[test]
fn step_6_refuses_another_credential_or_user_handle() {
    refused(PasskeyReject::Unknown, |answer| answer.credential_id[0] ^= 1);
    for handle in ["bob", "Alice", "alice ", "alic", "alicea"] {
        refused(PasskeyReject::UserHandle, |answer| answer.user_handle = Some(handle.as_bytes().to_vec()));
    }
    refused(PasskeyReject::UserHandle, |answer| answer.user_handle = None);
    refused(PasskeyReject::UserHandle, |answer| answer.user_handle = Some(Vec::new()));
    refused(PasskeyReject::UserHandle, |answer| answer.user_handle = Some(vec![b'a'; 65]));
}

#[test]
fn steps_9_to_14_refuse_client_data_of_another_kind_challenge_or_place() {
    for kind in ["webauthn.create", "webauthn.GET", ""] {
        refused(PasskeyReject::CeremonyType, |answer| answer.said.client_data["type"] = kind.into());
    }
    refused(PasskeyReject::Challenge, |answer| answer.said.client_data["challenge"] = "AAAA".into());
    for origin in [
        "http://login.example.com",
        "https://login.example.com:444",
        "https://example.com",
        "https://a.login.example.com",
        "https://evil.example",
    ] {
        refused(PasskeyReject::Origin, |answer| answer.said.client_data["origin"] = origin.into());
    }
    refused(PasskeyReject::CrossOrigin, |answer| answer.said.client_data["crossOrigin"] = true.into());
    refused(PasskeyReject::CrossOrigin, |answer| answer.said.client_data["topOrigin"] = "https://evil.example".into());
    for (name, value) in
        [("type", json!(1)), ("challenge", json!([])), ("origin", json!(null)), ("crossOrigin", json!(0))]
    {
        refused(PasskeyReject::Malformed, |answer| answer.said.client_data[name] = value);
    }
}

#[test]
fn steps_15_to_17_refuse_another_relying_party_and_users_who_are_absent_or_not_verified() {
    refused(PasskeyReject::RelyingParty, |answer| answer.said.rp_id = "login.example.com".into());
    refused(PasskeyReject::UserPresence, |answer| answer.said.flags &= !UP);
    refused(PasskeyReject::UserVerification, |answer| answer.said.flags &= !UV);
    let owner = Owner::new(SoftAlgorithm::Es256);
    let mut answer = owner.answer();
    answer.said.flags &= !UV;
    let preferred = party().with_user_verification(UserVerification::Preferred);
    let verified = owner.check(&preferred, &answer.to_json(&owner.authenticator)).unwrap();
    assert!(!verified.is_user_verified());
}

#[test]
fn steps_18_and_19_refuse_backup_flags_that_contradict_each_other_or_the_record() {
    refused(PasskeyReject::BackupState, |answer| answer.said.flags |= BS);
    refused(PasskeyReject::BackupState, |answer| answer.said.flags |= BE);
    refused(PasskeyReject::BackupState, |answer| answer.said.flags |= BE | BS);
    let mut owner = Owner::new(SoftAlgorithm::Es256);
    owner.passkey.is_backup_eligible = true;
    assert_eq!(owner.checked(|_| {}), Err(PasskeyReject::BackupState));
    let verified = owner.checked(|answer| answer.said.flags |= BE | BS).unwrap();
    assert!(verified.to_use(NOW).is_backed_up);
}

#[test]
fn refuses_authenticator_data_that_is_cut_or_has_more() {
    refused(PasskeyReject::Malformed, |answer| answer.said.behind = vec![0]);
    refused(PasskeyReject::Malformed, |answer| answer.said.flags |= AT);
    refused(PasskeyReject::Malformed, |answer| answer.said.flags |= ED);
    refused(PasskeyReject::Malformed, |answer| {
        answer.said.flags |= ED;
        answer.said.behind = [cbor(&Value::Map(Vec::new())), vec![0]].concat();
    });
    refused(PasskeyReject::Malformed, |answer| {
        answer.said.flags |= ED;
        answer.said.behind = [vec![0xa1, 0x01], vec![0x81; 8000]].concat();
    });
    let owner = Owner::new(SoftAlgorithm::Es256);
    let credential = SoftAuthenticator::new().register(&options(), ORIGIN);
    let attested =
        [&credential.aaguid[..], &[0, 32], &credential.attested_id, &cbor(&Value::Map(credential.public_key.clone()))]
            .concat();
    let with_credential = |answer: &mut SoftAssertion| {
        answer.said.flags |= AT;
        answer.said.behind = attested;
    };
    assert_eq!(owner.checked(with_credential), Err(PasskeyReject::Malformed), "a new key is none of a login");
    let with_extension = |answer: &mut SoftAssertion| {
        answer.said.flags |= ED;
        answer.said.behind = cbor(&Value::Map(vec![("uvm".into(), Value::Array(vec![1.into()]))]));
    };
    assert!(owner.checked(with_extension).is_ok());
}

#[test]
fn step_21_refuses_signatures_of_others_and_over_anything_else() {
    for algorithm in [SoftAlgorithm::Es256, SoftAlgorithm::EdDsa, SoftAlgorithm::Rs256] {
        let owner = Owner::new(algorithm);
        for stranger in [SoftAlgorithm::Es256, SoftAlgorithm::EdDsa, SoftAlgorithm::Rs256] {
            let json = owner.answer().to_json(&SoftAuthenticator::with_algorithm(stranger));
            assert_eq!(owner.check(&party(), &json), Err(PasskeyReject::Signature), "{algorithm:?} {stranger:?}");
        }
        for signed in [vec![], vec![0; 69]] {
            assert_eq!(owner.checked(|answer| answer.signed = Some(signed)), Err(PasskeyReject::Signature));
        }
        let json = String::from_utf8(owner.answer().to_json(&owner.authenticator)).unwrap();
        let start = json.find(r#""signature":""#).unwrap() + 13;
        let end = start + json[start..].find('"').unwrap();
        for signature in ["", "AA", "MAYCAQACAQA", &"A".repeat(86), &"_".repeat(342)] {
            let json = format!("{}{signature}{}", &json[..start], &json[end..]);
            let refusal = owner.check(&party(), json.as_bytes()).unwrap_err();
            assert!(matches!(refusal, PasskeyReject::Signature | PasskeyReject::Malformed), "{refusal:?}");
        }
    }
}

#[test]
fn step_21_refuses_any_one_changed_bit_of_what_was_signed() {
    let owner = Owner::new(SoftAlgorithm::EdDsa);
    let json = owner.answer().to_json(&owner.authenticator);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let base64 = base64_simd::URL_SAFE_NO_PAD;
    for name in ["clientDataJSON", "authenticatorData", "signature"] {
        let bytes = base64.decode_to_vec(json["response"][name].as_str().unwrap()).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let mut json = json.clone();
            json["response"][name] = base64.encode_to_string(&changed).into();
            assert!(owner.check(&party(), json.to_string().as_bytes()).is_err(), "{name}, bit {at}");
        }
        for at in 0..bytes.len() {
            let mut json = json.clone();
            json["response"][name] = base64.encode_to_string(&bytes[..at]).into();
            assert!(owner.check(&party(), json.to_string().as_bytes()).is_err(), "{name}, cut at {at}");
        }
    }
}

#[test]
fn step_21_refuses_records_that_registration_would_not_have_kept() {
    for (key, reason) in [
        (vec![], PasskeyReject::Malformed),
        (vec![0xa0], PasskeyReject::PublicKey),
        (vec![0xa1, 0x03, 0x39, 0xff, 0xfe], PasskeyReject::Algorithm),
    ] {
        let mut owner = Owner::new(SoftAlgorithm::Es256);
        owner.passkey.public_key = key;
        assert_eq!(owner.checked(|_| {}), Err(reason));
    }
}

#[test]
fn step_22_refuses_counters_that_have_not_grown() {
    let mut owner = Owner::new(SoftAlgorithm::Es256);
    for (kept, said, is_good) in [
        (0, 0, true),
        (0, 1, true),
        (1, 0, false),
        (1, 1, false),
        (2, 1, false),
        (1, 2, true),
        (u32::MAX, u32::MAX, false),
        (u32::MAX, 0, false),
        (u32::MAX - 1, u32::MAX, true),
    ] {
        owner.passkey.sign_count = kept;
        let answer = |answer: &mut SoftAssertion| answer.said.sign_count = said;
        let count = owner.checked(answer).map(|verified| verified.to_use(NOW).sign_count);
        assert_eq!(count, if is_good { Ok(said) } else { Err(PasskeyReject::Counter) }, "{kept} then {said}");
        let mut answer = owner.answer();
        answer.said.sign_count = said;
        let lenient = party().with_counter_policy(CounterPolicy::Warn);
        let verified = owner.check(&lenient, &answer.to_json(&owner.authenticator)).unwrap();
        assert_eq!(verified.to_use(NOW).sign_count, kept.max(said), "the higher one stays");
    }
}

#[test]
fn refuses_json_that_is_not_an_assertion() {
    let owner = Owner::new(SoftAlgorithm::Es256);
    let good = String::from_utf8(owner.answer().to_json(&owner.authenticator)).unwrap();
    for (from, to) in [
        ("public-key", "password"),
        ("clientDataJSON", "clientData"),
        ("authenticatorData", "attestationObject"),
        (r#""signature""#, r#""sig""#),
        (r#""rawId":"#, r#""rawid":"#),
        (r#""type":"#, r#""type":"public-key","type":"#),
        (r#""signature":""#, r#""signature":"="#),
    ] {
        assert!(good.contains(from), "{from}");
        let json = good.replacen(from, to, 1);
        assert_eq!(owner.check(&party(), json.as_bytes()), Err(PasskeyReject::Malformed), "{from} → {to}");
    }
    let signature = format!(r#""signature":"{}"#, "A".repeat(1400));
    for text in ["", "{}", "[]", &good[1..], &good.replacen(r#""signature":""#, &signature, 1)] {
        assert_eq!(owner.check(&party(), text.as_bytes()), Err(PasskeyReject::Malformed));
    }
    let shown = format!("{:?}", AssertionResponse::parse(good.as_bytes()).unwrap());
    assert_eq!(shown, "AssertionResponse(..)");
}
