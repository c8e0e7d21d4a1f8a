//! Steps of §7.1, each with one thing changed. What is changed is said by browser and authenticator alike, and well formed.

use ciborium::Value;
use sekisho_credentials::testing::authenticator::{
    AT, BE, BS, ED, SoftAlgorithm, SoftAuthenticator, SoftRegistration, UP, UV, cbor,
};
use sekisho_credentials::{PasskeyReject, RegistrationResponse, UserVerification};
use serde_json::json;

use crate::site::{ORIGIN, challenge, options, party};
use crate::world::NOW;

type Entries = Vec<(Value, Value)>;

fn answer() -> SoftRegistration {
    SoftAuthenticator::new().register(&options(), ORIGIN)
}

fn check(json: &[u8]) -> Result<(), PasskeyReject> {
    let response = RegistrationResponse::parse(json)?;
    party().check_registration(&challenge(), &response).map(drop)
}

fn checked(change: impl FnOnce(&mut SoftRegistration)) -> Result<(), PasskeyReject> {
    let mut answer = answer();
    change(&mut answer);
    check(&answer.to_json())
}

fn refused(reason: PasskeyReject, change: impl FnOnce(&mut SoftRegistration)) {
    assert_eq!(checked(change), Err(reason));
}

#[test]
fn accepts_each_algorithm_and_keeps_what_was_said() {
    for algorithm in [SoftAlgorithm::Es256, SoftAlgorithm::EdDsa, SoftAlgorithm::Rs256] {
        let authenticator = SoftAuthenticator::with_algorithm(algorithm);
        let mut answer = authenticator.register(&options(), ORIGIN);
        answer.said.flags |= BE | BS;
        let response = RegistrationResponse::parse(&answer.to_json()).unwrap();
        let new = party().check_registration(&challenge(), &response).unwrap();
        assert_eq!(format!("{new:?} {response:?}"), "NewPasskey(..) RegistrationResponse(..)");
        let account = sekisho_credentials::AccountId::parse("alice").unwrap();
        let passkey = new.into_passkey(account, "key".to_owned(), NOW);
        assert_eq!(passkey.credential_id, authenticator.credential_id);
        assert_eq!(passkey.public_key, cbor(&Value::Map(authenticator.public_key())));
        assert_eq!((passkey.sign_count, passkey.aaguid), (1, authenticator.aaguid));
        assert_eq!(passkey.transports, "internal,hybrid");
        assert!(passkey.is_user_verified && passkey.is_backup_eligible && passkey.is_backed_up);
    }
}

#[test]
fn step_6_refuses_client_data_that_is_not_one_object() {
    for text in ["", "{", "[]", "null", "{}", r#"{"type":"webauthn.create","type":"webauthn.create"}"#, "\u{feff}{}"] {
        let mut answer = answer();
        let json = String::from_utf8(answer.to_json()).unwrap();
        let before = base64(answer.said.client_data.to_string().as_bytes());
        assert!(json.contains(&before));
        assert_eq!(check(json.replace(&before, &base64(text.as_bytes())).as_bytes()), Err(PasskeyReject::Malformed));
        answer.said.client_data = json!({ "type": "webauthn.create" });
        assert_eq!(check(&answer.to_json()), Err(PasskeyReject::Malformed));
    }
    for (name, value) in
        [("type", json!(7)), ("challenge", json!(null)), ("origin", json!([ORIGIN])), ("crossOrigin", json!("false"))]
    {
        refused(PasskeyReject::Malformed, |answer| answer.said.client_data[name] = value);
    }
    refused(PasskeyReject::Malformed, |answer| answer.said.client_data["padding"] = "x".repeat(4096).into());
    assert_eq!(checked(|answer| answer.said.client_data["extraData"] = "x".into()), Ok(()), "there may be more");
}

#[test]
fn step_7_refuses_the_other_ceremony() {
    for kind in ["webauthn.get", "webauthn.Create", "payment.get", ""] {
        refused(PasskeyReject::CeremonyType, |answer| answer.said.client_data["type"] = kind.into());
    }
}

#[test]
fn step_8_refuses_another_challenge() {
    let ours = answer().said.client_data["challenge"].as_str().unwrap().to_owned();
    for other in ["", "AAAA", &ours[..42], &format!("{ours}="), &format!("{ours}A"), &ours.to_lowercase()] {
        refused(PasskeyReject::Challenge, |answer| answer.said.client_data["challenge"] = other.into());
    }
}

#[test]
fn step_9_refuses_every_origin_that_is_not_ours_to_the_letter() {
    for other in [
        "http://login.example.com",
        "https://login.example.com:443",
        "https://login.example.com:8443",
        "https://login.example.com/",
        "https://LOGIN.example.com",
        "https://login.example.com.",
        "https://example.com",
        "https://www.login.example.com",
        "https://login.example.com.evil.example",
        "https://evil.example",
        "android:apk-key-hash:abc",
        "null",
        "",
    ] {
        refused(PasskeyReject::Origin, |answer| answer.said.client_data["origin"] = other.into());
    }
    assert_eq!(checked(|answer| answer.said.client_data["origin"] = "https://example.com:8443".into()), Ok(()));
}

#[test]
fn steps_10_and_11_refuse_frames_of_other_sites() {
    refused(PasskeyReject::CrossOrigin, |answer| answer.said.client_data["crossOrigin"] = true.into());
    for top in [json!("https://evil.example"), json!(ORIGIN), json!(null)] {
        refused(PasskeyReject::CrossOrigin, |answer| answer.said.client_data["topOrigin"] = top);
    }
    let without =
        |answer: &mut SoftRegistration| drop(answer.said.client_data.as_object_mut().unwrap().remove("crossOrigin"));
    assert_eq!(checked(without), Ok(()));
}

#[test]
fn step_13_refuses_attestation_objects_with_anything_missing_more_or_out_of_order() {
    let answer = answer();
    let whole = answer.attestation_object();
    let Value::Map(entries) = ciborium::from_reader::<Value, _>(whole.as_slice()).unwrap() else { panic!() };
    assert_eq!(check(&answer.to_json_with(&cbor(&Value::Map(entries.clone())))), Ok(()));
    let refused = |entries: Entries| {
        assert_eq!(check(&answer.to_json_with(&cbor(&Value::Map(entries)))), Err(PasskeyReject::Malformed));
    };
    for at in 0..3 {
        let with = |change: &dyn Fn(&mut Entries)| {
            let mut entries = entries.clone();
            change(&mut entries);
            refused(entries);
        };
        with(&|entries| drop(entries.remove(at)));
        with(&|entries| entries[at].1 = Value::Null);
        with(&|entries| entries[at].0 = Value::from(1));
        with(&|entries| entries.insert(at, entries[at].clone()));
        with(&|entries| entries.swap(at, (at + 1) % 3));
    }
    let mut more = entries.clone();
    more.push(("ext".repeat(4).into(), Value::Null));
    refused(more);
    assert_eq!(check(&answer.to_json_with(&[whole.as_slice(), &[0]].concat())), Err(PasskeyReject::Malformed));
    assert_eq!(
        check(&answer.to_json_with(&cbor(&Value::Tag(24, Box::new(whole.into()))))),
        Err(PasskeyReject::Malformed)
    );
}

#[test]
fn step_13_refuses_every_cut_and_survives_every_changed_byte() {
    let answer = answer();
    let whole = answer.attestation_object();
    for at in 0..whole.len() {
        assert_eq!(check(&answer.to_json_with(&whole[..at])), Err(PasskeyReject::Malformed), "cut at {at}");
        for bit in [0x01, 0x20, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= bit;
            let _ = check(&answer.to_json_with(&changed));
        }
    }
}

#[test]
fn step_13_refuses_cbor_that_is_deep_long_or_not_canonical() {
    let answer = answer();
    let whole = answer.attestation_object();
    // "fmt": "none" with a length of two bytes.
    let longer = [&[0xa3, 0x63], &b"fmt"[..], &[0x78, 4], &whole[6..]].concat();
    let endless = [&[0xbf], &whole[1..], &[0xff]].concat();
    for object in
        [longer, endless, [0xa1, 0x01].repeat(20_000), vec![0x81; 40_000], vec![0xc1; 40_000], vec![0x9f; 40_000]]
    {
        assert_eq!(check(&answer.to_json_with(&object)), Err(PasskeyReject::Malformed));
    }
    let at = whole.windows(7).position(|window| window == b"attStmt").unwrap() + 7;
    for nesting in [&b"\x81"[..], b"\xa1\x01", b"\xc1", b"\xc2", b"\x9f"] {
        let deep = [&whole[..at], &[0xa1, 0x63], b"x5c", &nesting.repeat(20_000), &whole[at..]].concat();
        assert_eq!(check(&answer.to_json_with(&deep)), Err(PasskeyReject::Malformed), "{nesting:?}");
    }
    refused(PasskeyReject::Malformed, |answer| {
        answer.statement = Value::Map(vec![("x5c".into(), vec![0; 70_000].into())])
    });
}

#[test]
fn step_13_refuses_authenticator_data_with_anything_behind_it() {
    refused(PasskeyReject::Malformed, |answer| answer.said.behind = vec![0]);
    refused(PasskeyReject::Malformed, |answer| answer.said.behind = cbor(&Value::Map(Vec::new())));
    for extensions in [vec![], vec![0], vec![0xa1], vec![0xa0, 0], vec![0xbf, 0xff], vec![0xa2, 1, 1, 1, 1]] {
        refused(PasskeyReject::Malformed, |answer| {
            answer.said.flags |= ED;
            answer.said.behind = extensions;
        });
    }
    refused(PasskeyReject::Malformed, |answer| answer.said.flags &= !AT);
    let with_extension = |answer: &mut SoftRegistration| {
        answer.said.flags |= ED;
        answer.said.behind = cbor(&Value::Map(vec![("credProtect".into(), Value::from(2))]));
    };
    assert_eq!(checked(with_extension), Ok(()), "unsolicited extensions are ignored");
}

#[test]
fn step_14_refuses_another_relying_party() {
    for other in ["login.example.com", "example.org", "com", "Example.com", ""] {
        refused(PasskeyReject::RelyingParty, |answer| answer.said.rp_id = other.into());
    }
}

#[test]
fn steps_15_and_16_refuse_users_who_are_absent_or_not_verified() {
    refused(PasskeyReject::UserPresence, |answer| answer.said.flags &= !UP);
    refused(PasskeyReject::UserVerification, |answer| answer.said.flags &= !UV);
    let mut answer = answer();
    answer.said.flags &= !UV;
    let response = RegistrationResponse::parse(&answer.to_json()).unwrap();
    let preferred = party().with_user_verification(UserVerification::Preferred);
    let new = preferred.check_registration(&challenge(), &response).unwrap();
    let account = sekisho_credentials::AccountId::parse("alice").unwrap();
    assert!(!new.into_passkey(account, String::new(), NOW).is_user_verified);
}

#[test]
fn step_17_refuses_what_is_backed_up_and_cannot_be() {
    refused(PasskeyReject::BackupState, |answer| answer.said.flags |= BS);
    for flags in [BE, BE | BS] {
        assert_eq!(checked(|answer| answer.said.flags |= flags), Ok(()));
    }
}

#[test]
fn step_20_refuses_algorithms_that_were_not_offered() {
    for algorithm in [-35, -36, -37, -39, -47, -53, -65535, 0, 7, 1, i64::MIN] {
        refused(PasskeyReject::Algorithm, |answer| answer.public_key[1].1 = Value::from(algorithm));
    }
    refused(PasskeyReject::PublicKey, |answer| drop(answer.public_key.remove(1)));
    refused(PasskeyReject::PublicKey, |answer| answer.public_key[1].1 = "ES256".into());
}

fn with(algorithm: SoftAlgorithm, change: impl FnOnce(&mut Entries)) -> Result<(), PasskeyReject> {
    let mut answer = SoftAuthenticator::with_algorithm(algorithm).register(&options(), ORIGIN);
    change(&mut answer.public_key);
    check(&answer.to_json())
}

#[test]
fn step_20_refuses_keys_whose_kind_is_not_that_of_the_algorithm() {
    let all = [SoftAlgorithm::Es256, SoftAlgorithm::EdDsa, SoftAlgorithm::Rs256];
    for (algorithm, own) in all.into_iter().zip([-7, -8, -257]) {
        for other in [-7, -8, -257] {
            let expected = if other == own { Ok(()) } else { Err(PasskeyReject::PublicKey) };
            assert_eq!(with(algorithm, |key| key[1].1 = Value::from(other)), expected, "{algorithm:?} as {other}");
        }
        for kind in [0, 4, 9] {
            assert_eq!(with(algorithm, |key| key[0].1 = Value::from(kind)), Err(PasskeyReject::PublicKey));
        }
        let more = |key: &mut Entries| key.push((Value::from(-9), Value::from(1)));
        assert_eq!(with(algorithm, more), Err(PasskeyReject::PublicKey), "a parameter too many");
        assert_eq!(with(algorithm, |key| drop(key.pop())), Err(PasskeyReject::PublicKey), "one too few");
        assert_eq!(with(algorithm, |key| drop(key.remove(0))), Err(PasskeyReject::PublicKey), "no kind");
        assert_eq!(with(algorithm, |key| key.swap(0, 1)), Err(PasskeyReject::Malformed), "out of order");
    }
    for curve in [0, 2, 3, 8] {
        assert_eq!(with(SoftAlgorithm::Es256, |key| key[2].1 = Value::from(curve)), Err(PasskeyReject::PublicKey));
    }
    for curve in [1, 4, 5, 7] {
        assert_eq!(with(SoftAlgorithm::EdDsa, |key| key[2].1 = Value::from(curve)), Err(PasskeyReject::PublicKey));
    }
}

#[test]
fn step_20_refuses_points_off_the_curve_compressed_or_of_another_length() {
    for at in [3, 4] {
        for coordinate in [vec![0; 32], vec![0xff; 32], vec![1; 31], vec![1; 33], vec![]] {
            let bad = |key: &mut Entries| key[at].1 = coordinate.into();
            assert_eq!(with(SoftAlgorithm::Es256, bad), Err(PasskeyReject::PublicKey));
        }
        assert_eq!(
            with(SoftAlgorithm::Es256, |key| key[at].1 = true.into()),
            Err(PasskeyReject::PublicKey),
            "compressed"
        );
    }
}

#[test]
fn step_20_refuses_edwards_points_for_which_anybody_can_sign() {
    let one = |first: u8, between: u8, last: u8| {
        let mut bytes = vec![between; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    // 0, 1 and -1, with either sign; p, p + 1 and 2^255 - 1, which are no canonical numbers.
    for point in [
        one(0, 0, 0),
        one(0, 0, 0x80),
        one(1, 0, 0),
        one(1, 0, 0x80),
        one(0xec, 0xff, 0x7f),
        one(0xec, 0xff, 0xff),
        one(0xed, 0xff, 0x7f),
        one(0xee, 0xff, 0x7f),
        one(0xff, 0xff, 0x7f),
        vec![1; 31],
        vec![1; 33],
    ] {
        let bad = |key: &mut Entries| key[3].1 = point.clone().into();
        assert_eq!(with(SoftAlgorithm::EdDsa, bad), Err(PasskeyReject::PublicKey), "{point:?}");
    }
}

#[test]
fn step_20_refuses_rsa_keys_that_are_short_long_even_or_of_an_odd_exponent() {
    for modulus in [
        vec![0xff; 128],
        vec![0xff; 255],
        vec![0xff; 513],
        vec![0x7f; 256],
        vec![0xfe; 256],
        [vec![0], vec![0xff; 256]].concat(),
        vec![],
    ] {
        let bad = |key: &mut Entries| key[2].1 = modulus.clone().into();
        assert_eq!(with(SoftAlgorithm::Rs256, bad), Err(PasskeyReject::PublicKey), "{} bytes", modulus.len());
    }
    for exponent in [vec![], vec![1], vec![3], vec![0, 1, 0, 1], vec![1, 0, 0]] {
        let bad = |key: &mut Entries| key[3].1 = exponent.clone().into();
        assert_eq!(with(SoftAlgorithm::Rs256, bad), Err(PasskeyReject::PublicKey), "{exponent:?}");
    }
}

#[test]
fn steps_21_to_24_take_any_statement_for_none_of_some_length() {
    for format in ["none", "packed", "tpm", "x"] {
        let statement = Value::Map(vec![("alg".into(), Value::from(-7)), ("sig".into(), vec![0; 70].into())]);
        assert_eq!(checked(|answer| (answer.format, answer.statement) = (format.to_owned(), statement)), Ok(()));
    }
    for format in [String::new(), "x".repeat(33)] {
        refused(PasskeyReject::Malformed, |answer| answer.format = format);
    }
}

#[test]
fn step_25_refuses_credential_ids_that_are_too_long_or_can_be_guessed() {
    for length in [0, 1, 15, 1024, 5000] {
        refused(PasskeyReject::CredentialId, |answer| {
            (answer.credential_id, answer.attested_id) = (vec![7; length], vec![7; length]);
        });
    }
    for length in [16, 1023] {
        let fitting = |answer: &mut SoftRegistration| {
            (answer.credential_id, answer.attested_id) = (vec![7; length], vec![7; length]);
        };
        assert_eq!(checked(fitting), Ok(()));
    }
    refused(PasskeyReject::CredentialId, |answer| answer.credential_id[0] ^= 1);
}

#[test]
fn refuses_json_that_is_not_a_registration() {
    let good = String::from_utf8(answer().to_json()).unwrap();
    assert_eq!(check(good.as_bytes()), Ok(()));
    let id = base64(&answer().credential_id);
    assert_eq!(id.len(), 43);
    let changed = [
        ("public-key", "password"),
        (r#""response":"#, r#""answer":"#),
        (r#""rawId":"#, r#""rawid":"#),
        (r#""id":"#, r#""ID":"#),
        ("clientDataJSON", "clientData"),
        ("attestationObject", "authenticatorData"),
        (r#"["internal","hybrid"]"#, "7"),
        ("hybrid", "hy,brid"),
        ("hybrid", "hy\\u0000brid"),
        ("hybrid", ""),
        (r#"["internal","hybrid"]"#, r#"["a","a","a","a","a","a","a","a","a"]"#),
        (r#""type":"#, r#""type":"public-key","type":"#),
        (r#""attestationObject":""#, r#""attestationObject":"="#),
        (r#""attestationObject":""#, r#""attestationObject":"+"#),
    ];
    for (from, to) in changed {
        assert!(good.contains(from), "{from}");
        assert_eq!(check(good.replacen(from, to, 1).as_bytes()), Err(PasskeyReject::Malformed), "{from} → {to}");
    }
    let raw = format!(r#""rawId":"{}"#, "A".repeat(43));
    let other = good.find(r#""rawId":""#).map(|at| format!("{}{raw}{}", &good[..at], &good[at + raw.len()..])).unwrap();
    assert_eq!(check(other.as_bytes()), Err(PasskeyReject::CredentialId));
    let long = good.replacen(r#""clientExtensionResults":{}"#, &format!(r#""x":"{}""#, "x".repeat(65_536)), 1);
    for text in ["", "{}", "[]", "null", &good[1..], &long, &"[".repeat(60_000), &"{\"a\":".repeat(10_000)] {
        assert_eq!(check(text.as_bytes()), Err(PasskeyReject::Malformed));
    }
    assert_eq!(check(&[0xff; 100]), Err(PasskeyReject::Malformed));
    assert_eq!(check(good.replace(r#","transports":["internal","hybrid"]"#, "").as_bytes()), Ok(()));
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}
