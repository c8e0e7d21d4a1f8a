#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::key::tests::backends;
use crate::{Algorithm, SigningKey};

fn public(kid: &str) -> Value {
    let key = SigningKey::generate(backends()[0], Algorithm::Ed25519).unwrap();
    key.with_kid(kid).public_jwk().unwrap()
}

fn parse(document: impl AsRef<[u8]>) -> Result<KeySet, KeySetError> {
    KeySet::parse(backends()[0], document.as_ref())
}

#[test]
fn one_unusable_key_never_spoils_the_set() {
    let mut twice = public("twice").to_string();
    twice.insert_str(1, r#""kty":"OKP","#);
    let mut off_curve = json!({"kty": "EC", "crv": "P-256", "kid": "point"});
    off_curve["x"] = "A".repeat(43).into();
    off_curve["y"] = "A".repeat(43).into();
    let broken = [
        json!({"kty": "XYZ", "kid": "unknown"}).to_string(),
        json!({"kty": "RSA", "n": "!", "e": "AQAB", "kid": "base64"}).to_string(),
        off_curve.to_string(),
        json!({"kid": "no type"}).to_string(),
        twice,
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "1e999".to_owned(),
        format!("{}1{}", "[".repeat(100), "]".repeat(100)),
        r#"{"kty":"\ud800"}"#.to_owned(),
    ];
    let document = format!(r#"{{"keys":[{},{},{}]}}"#, public("first"), broken.join(","), public("last"));
    let set = parse(document).unwrap();
    let kids: Vec<_> = set.keys().iter().map(|key| key.kid().unwrap()).collect();
    assert_eq!(kids, ["first", "last"]);
    let skipped: Vec<_> = set.skipped().iter().map(SkippedKey::index).collect();
    assert_eq!(skipped, (1..=broken.len()).collect::<Vec<_>>());
    let reasons: Vec<String> = set.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(reasons[0], "key 1 (kid `unknown`): this kind of key is not supported");
    assert_eq!(reasons[2], "key 3 (kid `point`): the public point is not a valid one of its curve");
    assert_eq!(reasons[4], "key 5: malformed key: a member name stands twice in one object");
}

#[test]
fn a_shared_secret_in_a_published_set_is_left_out() {
    let oct = json!({"kty": "oct", "alg": "HS256", "kid": "s", "k": "A".repeat(86)});
    let set = parse(json!({"keys": [oct, public("a")]}).to_string()).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!(set.skipped()[0].reason(), KeyError::PublishedSecret);
}

#[test]
fn a_private_key_in_a_published_set_is_left_out_and_not_stripped() {
    let mut private = public("p");
    private["d"] = "A".repeat(43).into();
    let set = parse(json!({"keys": [private, public("a")]}).to_string()).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!(set.keys()[0].kid(), Some("a"));
    assert_eq!(set.skipped()[0].reason(), KeyError::PrivateKey);
}

#[test]
fn however_badly_a_private_key_is_written_its_public_half_is_left_out() {
    let of_rsa = json!({"kty": "RSA", "n": format!("{}w", "w".repeat(341)), "e": "AQAB", "kid": "rsa"});
    for leaked in [public("a"), of_rsa] {
        let public = leaked.to_string();
        let private =
            |members: &str| format!("{},\"d\":\"{}\"{members}}}", &public[..public.len() - 1], "A".repeat(43));
        let without = |name: &str| {
            let mut jwk = leaked.clone();
            jwk.as_object_mut().unwrap().remove(name);
            jwk["d"] = "AQ".into();
            jwk
        };
        let with = |name: &str, value: Value| {
            let mut jwk = leaked.clone();
            jwk["d"] = "AQ".into();
            jwk[name] = value;
            jwk.to_string()
        };
        let number = if leaked["kty"] == "RSA" { "n" } else { "x" };
        let text = leaked[number].as_str().unwrap();
        let other_alphabet = text.replace('-', "+").replace('_', "/");
        for private in [
            private(""),
            private(r#","kid":"twice""#),
            private(r#","\u006bty":"OKP""#),
            private(r#","d":null"#),
            private(&format!(r#","{number}":"AQAB""#)),
            private(&format!(r#","deep":{}{}"#, "[".repeat(60), "]".repeat(60))),
            with("kid", json!(7)),
            with("kid", json!("k".repeat(257))),
            with("kty", json!(null)),
            with("kty", json!("XYZ")),
            with("use", json!("enc")),
            with("alg", json!(1)),
            with("d", json!(1)),
            with("e", json!(65537)),
            with(number, json!(format!("{text}="))),
            with(number, json!(format!("{other_alphabet}=="))),
            with(number, json!(format!(" {} \n{}", &text[..8], &text[8..]))),
            without("kty").to_string(),
            without("e").to_string(),
            without("crv").to_string(),
        ] {
            for document in
                [format!(r#"{{"keys":[{public},{private}]}}"#), format!(r#"{{"keys":[{private},{public}]}}"#)]
            {
                let set = parse(&document).unwrap();
                let mut reasons: Vec<_> = set.skipped().iter().map(SkippedKey::reason).collect();
                reasons.sort_by_key(|reason| *reason == KeyError::Leaked);
                assert_eq!(reasons, [KeyError::PrivateKey, KeyError::Leaked], "{document}");
            }
        }
    }
}

#[test]
fn what_only_looks_like_a_private_key_takes_no_other_along() {
    let key = public("a");
    for entry in [
        json!({"kty": "OKP", "x": key["x"], "kid": 7}),
        json!({"kty": "OKP", "x": key["x"], "d": null, "kid": 7}),
        json!({"d": "AQ"}),
        json!({"d": "AQ", "x": 7}),
        json!({"d": "AQ", "x": ""}),
        json!([{"x": key["x"], "d": "AQ"}]),
        json!({"nested": {"x": key["x"], "d": "AQ"}}),
        json!("d"),
    ] {
        let set = parse(json!({"keys": [key, entry]}).to_string()).unwrap();
        assert_eq!(set.keys().len(), 1, "{entry}");
    }
}

#[test]
fn a_published_secret_is_told_of_whatever_else_is_wrong_with_it() {
    let oct = json!({"kty": "oct", "alg": "HS256", "kid": 7, "k": "A".repeat(86)});
    let set = parse(json!({"keys": [oct]}).to_string()).unwrap();
    assert_eq!(set.skipped()[0].reason(), KeyError::PublishedSecret);
}

#[test]
fn a_private_member_that_is_null_is_no_private_key() {
    let mut key = public("a");
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
        key[name] = Value::Null;
    }
    assert_eq!(parse(json!({"keys": [key]}).to_string()).unwrap().keys().len(), 1);
    for leaked in [json!(""), json!(0), json!(false), json!([]), json!({})] {
        key["d"] = leaked;
        let set = parse(json!({"keys": [key]}).to_string()).unwrap();
        assert_eq!(set.skipped()[0].reason(), KeyError::PrivateKey);
    }
}

#[test]
fn a_key_whose_private_half_stands_in_the_set_is_left_out_under_every_id() {
    let leaked = public("a");
    let mut private = leaked.clone();
    private["kid"] = "p".into();
    private["d"] = "A".repeat(43).into();
    let mut renamed = leaked.clone();
    renamed.as_object_mut().unwrap().remove("kid");
    for entries in [
        [&leaked, &private, &renamed, &public("b")],
        [&leaked, &renamed, &private, &public("b")],
        [&private, &renamed, &leaked, &public("b")],
    ] {
        let set = parse(json!({"keys": entries}).to_string()).unwrap();
        assert_eq!(set.keys().iter().map(|key| key.kid().unwrap()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(set.skipped().iter().map(SkippedKey::index).collect::<Vec<_>>(), [0, 1, 2]);
        for (skipped, entry) in set.skipped().iter().zip(entries) {
            let reason = if entry == &private { KeyError::PrivateKey } else { KeyError::Leaked };
            assert_eq!((skipped.kid(), skipped.reason()), (entry["kid"].as_str(), reason));
            assert!(skipped.reason().to_string().contains("no longer secret") && skipped.is_leak());
        }
    }
}

#[test]
fn an_rsa_modulus_whose_factors_are_known_is_left_out_with_every_exponent() {
    let n = format!("{}w", "w".repeat(341));
    let leaked = json!({"kty": "RSA", "n": n, "e": "AQAB", "d": "AQ"});
    let other = json!({"kty": "RSA", "n": n, "e": "Aw", "kid": "three"});
    let set = parse(json!({"keys": [other]}).to_string()).unwrap();
    assert_eq!(set.keys().len(), 1, "{:?}", set.skipped());
    let set = parse(json!({"keys": [other, leaked]}).to_string()).unwrap();
    assert_eq!((set.keys().len(), set.skipped()[0].reason()), (0, KeyError::Leaked));
}

#[test]
fn a_key_of_another_issuer_is_left_out_when_the_issuer_is_known() {
    let of = |kid: &str, issuer: Value| {
        let mut key = public(kid);
        key["issuer"] = issuer;
        key
    };
    let mut private = of("private", "https://evil.example".into());
    private["d"] = "A".repeat(43).into();
    let document = json!({"keys": [
        public("none"), of("own", "https://id.example".into()), of("other", "https://evil.example".into()),
        of("empty", "".into()), of("number", 7.into()), of("null", Value::Null),
        of("array", json!(["https://id.example"])), private,
    ]});
    let bytes = document.to_string().into_bytes();
    let set = KeySet::parse_where(backends()[0], &bytes, Some(&|issuer| issuer == "https://id.example")).unwrap();
    assert_eq!(set.keys().iter().map(|key| key.kid().unwrap()).collect::<Vec<_>>(), ["none", "own"]);
    let skipped: Vec<_> = set.skipped().iter().map(|key| (key.kid().unwrap(), key.reason())).collect();
    let (other, malformed) = (KeyError::OtherIssuer, KeyError::Malformed("`issuer` is not a string"));
    let expected = [
        ("other", other),
        ("empty", other),
        ("number", malformed),
        ("null", malformed),
        ("array", malformed),
        ("private", KeyError::PrivateKey),
    ];
    assert_eq!(skipped, expected);
    assert_eq!(parse(bytes).unwrap().keys().len(), 7, "without a known issuer the member says nothing");
}

#[test]
fn refuses_documents_that_are_no_key_set() {
    for document in [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "\"keys\"",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":"a"}"#,
        r#"{"keys":[]"#,
        r#"{"keys":[]}x"#,
        r#"{"keys":[,]}"#,
        r#"{"Keys":[]}"#,
        r#"{'keys':[]}"#,
        "<!DOCTYPE html><html></html>",
        "\u{feff}\u{feff}{\"keys\":[]}",
    ] {
        assert_eq!(parse(document).unwrap_err(), KeySetError::Malformed, "{document}");
    }
    assert_eq!(parse(b"{\"keys\":[],\"a\":\"\xff\"}").unwrap_err(), KeySetError::Malformed);
}

#[test]
fn refuses_a_member_of_the_document_that_stands_twice() {
    assert_eq!(parse(r#"{"keys":[],"keys":[]}"#).unwrap_err(), KeySetError::Malformed);
    assert_eq!(parse(r#"{"keys":[],"k\u0065ys":[]}"#).unwrap_err(), KeySetError::Malformed);
    assert_eq!(parse(r#"{"a":1,"keys":[],"a":2}"#).unwrap_err(), KeySetError::Malformed);
}

#[test]
fn an_empty_set_is_a_set_and_other_members_and_a_byte_order_mark_are_passed_over() {
    assert!(parse(r#"{"keys":[]}"#).unwrap().keys().is_empty());
    assert!(parse("\u{feff}{\"version\":{\"a\":[1]},\"keys\":[]}").unwrap().keys().is_empty());
}

#[test]
fn refuses_documents_above_the_bounds() {
    let padded = |bytes: usize| format!("{{\"keys\":[]{}}}", " ".repeat(bytes - 11));
    assert!(parse(padded(KeySet::MAX_BYTES)).is_ok());
    assert_eq!(parse(padded(KeySet::MAX_BYTES + 1)).unwrap_err(), KeySetError::TooLarge);
    let many = |count: usize| json!({"keys": vec![json!({}); count]}).to_string();
    assert_eq!(parse(many(KeySet::MAX_KEYS)).unwrap().skipped().len(), KeySet::MAX_KEYS);
    assert_eq!(parse(many(KeySet::MAX_KEYS + 1)).unwrap_err(), KeySetError::TooManyKeys);
    // Nesting is passed over without recursion.
    let deep = format!(r#"{{"keys":[{}{}]}}"#, "[".repeat(70_000), "]".repeat(70_000));
    assert_eq!(parse(deep).unwrap().skipped().len(), 1);
}

#[test]
fn the_id_of_a_skipped_key_is_escaped_and_cut() {
    let kid = format!("a\r\nb\u{202e}`{}", "x".repeat(300));
    let set = parse(json!({"keys": [{"kty": "EC", "kid": kid}]}).to_string()).unwrap();
    let line = set.skipped()[0].to_string();
    assert!(line.starts_with("key 0 (kid `a\\r\\nb\\u{202e}`xxx"), "{line}");
    assert!(line.len() < 200 && !line.contains('\n') && line.contains('…'), "{line}");
}

#[test]
fn a_map_of_certificates_is_read_one_by_one() {
    let set = KeySet::parse_x509_map(backends()[0], br#"{"a":"no certificate","b":1}"#).unwrap();
    assert_eq!((set.keys().len(), set.skipped().len()), (0, 2));
    assert!(KeySet::parse_x509_map(backends()[0], br#"{"a":"","a":""}"#).is_err());
    assert!(KeySet::parse_x509_map(backends()[0], b"[]").is_err());
}

/// Keys by their ids; `-` has none.
fn trusted(kids: &[&str], algorithm: Algorithm) -> Vec<TrustedKey> {
    let key = |kid: &&str| {
        let key = SigningKey::generate(backends()[0], algorithm).unwrap().verifying_key();
        TrustedKey::forever(if *kid == "-" {
            VerifyingKey::from_material(backends()[0], key_material(&key), crate::key::Restriction::None).unwrap()
        } else {
            key.with_kid(kid)
        })
    };
    kids.iter().map(key).collect()
}

fn key_material(key: &VerifyingKey) -> crate::key::PublicMaterial {
    let jwk = JsonObject::from_serialize(&key.public_jwk().unwrap()).unwrap();
    let kty = jwk.get("kty").unwrap().as_str().unwrap();
    jwk::public_material(&jwk, &kty).unwrap()
}

fn look_up(keys: &[TrustedKey], kid: Option<&str>, algorithm: Algorithm) -> String {
    match candidates(keys, KeyQuery { kid, algorithm }) {
        KeyLookup::Found(found) => {
            let kids: Vec<_> = found.as_slice().iter().map(|key| key.key().kid().unwrap_or("-").to_owned()).collect();
            kids.join(" ")
        }
        KeyLookup::Unknown => "unknown".to_owned(),
        KeyLookup::Ambiguous => "ambiguous".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_token_with_an_id_gets_keys_of_that_id_only() {
    let ed = Algorithm::Ed25519;
    let keys = trusted(&["a", "b", "b", "-", ""], ed);
    assert_eq!(look_up(&keys, Some("a"), ed), "a");
    assert_eq!(look_up(&keys, Some("b"), ed), "b b");
    assert_eq!(look_up(&keys, Some("A"), ed), "unknown");
    assert_eq!(look_up(&keys, Some("-"), ed), "unknown");
    assert_eq!(look_up(&keys, Some(""), ed), "");
    assert_eq!(look_up(&keys[3..4], Some("a"), ed), "unknown", "the only key has no id");
    assert_eq!(look_up(&keys, Some("a"), Algorithm::Es256), "unknown", "another algorithm");
    assert_eq!(look_up(&keys, Some("a"), Algorithm::Hs256), "unknown", "never as a secret");
    assert_eq!(look_up(&[], Some("a"), ed), "unknown");
}

#[test]
fn a_token_without_id_gets_all_fitting_keys_unless_they_are_too_many() {
    let ed = Algorithm::Ed25519;
    let mut keys = trusted(&["a", "-", "b", "c"], ed);
    keys.extend(trusted(&["other"], Algorithm::Es256));
    assert_eq!(look_up(&keys, None, ed), "a - b c");
    assert_eq!(look_up(&keys, None, Algorithm::Es256), "other");
    assert_eq!(look_up(&keys, None, Algorithm::Rs256), "unknown");
    keys.extend(trusted(&["d"], ed));
    assert_eq!(look_up(&keys, None, ed), "ambiguous");
    let same = trusted(&["a"; 5], ed);
    assert_eq!(look_up(&same, Some("a"), ed), "ambiguous");
}
