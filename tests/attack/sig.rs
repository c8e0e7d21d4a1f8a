//! Group `sig`: the bytes of the signature, and secrets that are none.

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcGroup;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sign::{RsaPssSaltlen, Signer};
use sekisho_jwks::{KeyError, SigningKey, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Reject};
use sekisho_tests::{House, NOW, accepted, answer, claims, decode, encode, input, refused, text, trusting, wait};
use serde_json::json;

use crate::forge::{hmac, load, mac_token, private, pss, recast, rsa, rsa_jwk};

/// Returns what is signed, and the signature.
fn taken_apart(token: &str) -> (String, Vec<u8>) {
    let (input, signature) = token.rsplit_once('.').unwrap();
    (input.to_owned(), decode(signature))
}

fn with(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", encode(signature))
}

#[test]
fn a022_null_signature() {
    let secret = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap();
    let shared = trusting([secret.verifying_key()]).with_algorithms([Algorithm::Hs256]).build().unwrap();
    let keyless = House::with_key(secret).under(json!({ "kid": "REMOVE" }));
    accepted(&shared, &keyless);
    assert_eq!(refused(&shared, &with(&taken_apart(&keyless).0, b"")), Reject::Malformed);
    for house in House::all() {
        let (input, _) = taken_apart(&house.token());
        assert_eq!(refused(&house.verifier(), &with(&input, b"")), Reject::Malformed);
    }
}

#[test]
fn a023_no_third_part() {
    for house in House::all() {
        let token = house.token();
        let (input, _) = taken_apart(&token);
        let (header, payload) = input.split_once('.').unwrap();
        for part in [&*input, header, payload, &format!("{header}."), &format!(".{payload}"), ""] {
            assert_eq!(refused(&house.verifier(), part), Reject::Malformed, "{part}");
        }
        // The parts run together.
        assert_eq!(refused(&house.verifier(), &token.replacen('.', "", 1)), Reject::Malformed);
        assert_eq!(refused(&house.verifier(), &token.replace('.', "")), Reject::Malformed);
    }
}

#[test]
fn a024_psychic() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::Es256K] {
        let house = House::new(algorithm);
        let (input, good) = taken_apart(&house.token());
        assert_eq!(refused(&house.verifier(), &with(&input, &vec![0; good.len()])), Reject::Signature, "{algorithm}");
    }
}

#[test]
fn a025_r_or_s_zero() {
    for (algorithm, curve) in [
        (Algorithm::Es256, Nid::X9_62_PRIME256V1),
        (Algorithm::Es384, Nid::SECP384R1),
        (Algorithm::Es512, Nid::SECP521R1),
    ] {
        let house = House::new(algorithm);
        let (input, good) = taken_apart(&house.token());
        let half = good.len() / 2;
        let (r, s) = good.split_at(half);
        let number = |n: u32| BigNum::from_u32(n).unwrap().to_vec_padded(i32::try_from(half).unwrap()).unwrap();
        let (zero, one) = (number(0), number(1));
        let mut order = BigNum::new().unwrap();
        let group = EcGroup::from_curve_name(curve).unwrap();
        group.order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
        let padded = |n: &BigNum| n.to_vec_padded(i32::try_from(half).unwrap()).unwrap();
        let n = padded(&order);
        let mut above = order.to_owned().unwrap();
        above.add_word(1).unwrap();
        let above = padded(&above);
        // The other of the two valid forms of the same `s` is a valid signature: RFC 7518 does not forbid it.
        let mut mirrored = BigNum::new().unwrap();
        mirrored.checked_sub(&order, &BigNum::from_slice(s).unwrap()).unwrap();
        accepted(&house.verifier(), &with(&input, &[r, &padded(&mirrored)].concat()));
        for (r, s) in [
            (&*zero, &*one),
            (&one, &zero),
            (&one, &one),
            (&zero, s),
            (r, &zero),
            (&n, s),
            (r, &n),
            (&n, &n),
            (&above, s),
            (r, &above),
        ] {
            assert_eq!(refused(&house.verifier(), &with(&input, &[r, s].concat())), Reject::Signature, "{algorithm}");
        }
    }
}

#[test]
fn a026_der_ecdsa() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let house = House::new(algorithm);
        let (input, good) = taken_apart(&house.token());
        let (r, s) = good.split_at(good.len() / 2);
        let number = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
        let der = EcdsaSig::from_private_components(number(r), number(s)).unwrap().to_der().unwrap();
        assert_eq!(refused(&house.verifier(), &with(&input, &der)), Reject::Signature);
    }
}

#[test]
fn a027_ecdsa_length() {
    let house = House::es256();
    // One whose r begins with a zero, so that it could be cut.
    let (input, good) = (0..20_000)
        .map(|number| taken_apart(&house.saying(json!({ "jti": number.to_string() }))))
        .find(|(_, signature)| signature[0] == 0)
        .unwrap();
    let (r, s) = good.split_at(32);
    accepted(&house.verifier(), &with(&input, &good));
    for bytes in [
        good[1..].to_vec(),
        [r, &s[..31]].concat(),
        [&[0], r, &[0], s].concat(),
        [&[0; 34], r, &[0; 34], s].concat(),
        [&good[..], &[0]].concat(),
        [&[0], &good[..]].concat(),
        [s, r].concat(),
        r.to_vec(),
        good.repeat(2),
    ] {
        assert_eq!(refused(&house.verifier(), &with(&input, &bytes)), Reject::Signature, "{} bytes", bytes.len());
    }
}

#[test]
fn a028_rsa_short() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let house = House::with_key(recast(&House::rs256().key, algorithm));
        let (input, good) = (0..20_000)
            .map(|number| taken_apart(&house.saying(json!({ "jti": number.to_string() }))))
            .find(|(_, signature)| signature[0] == 0)
            .unwrap();
        let verifier = house.verifier();
        accepted(&verifier, &with(&input, &good));
        let mut above = BigNum::from_slice(&good).unwrap();
        above = &above + private(&house.key).rsa().unwrap().n();
        for bytes in [
            good[1..].to_vec(),
            good[..255].to_vec(),
            [&[0], &good[..]].concat(),
            [&good[..], &[0]].concat(),
            vec![0; 256],
            [vec![0; 255], vec![1]].concat(),
            vec![0xff; 256],
            // The same number modulo n.
            above.to_vec(),
            vec![1],
        ] {
            let reject = refused(&verifier, &with(&input, &bytes));
            assert_eq!(reject, Reject::Signature, "{algorithm} {} bytes", bytes.len());
        }
        assert_eq!(refused(&verifier, &with(&input, &vec![1; 1025])), Reject::Malformed);
    }
}

#[test]
fn a029_rsa_bleichenbacher_e3() {
    let rsa = rsa(2048, 3);
    let key = load(&rsa_jwk(&rsa.n().to_vec(), &[3])).unwrap();
    let verifier = trusting([key]).build().unwrap();
    let input = input(json!({ "alg": "RS256", "kid": "k" }).to_string(), text(&claims()));
    let private = PKey::from_rsa(rsa).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &private).unwrap();
    accepted(&verifier, &with(&input, &signer.sign_oneshot_to_vec(input.as_bytes()).unwrap()));
    // 00 01 FF.. 00, the hash at once, and whatever comes behind: a cube root needs no private key.
    let digest = hash(MessageDigest::sha256(), input.as_bytes()).unwrap();
    let info = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    for filling in [1, 8, 30] {
        let front = [&[0, 1], &*vec![0xff; filling], &[0], info, &*digest].concat();
        let mut block = front.clone();
        block.resize(256, 0xff);
        let root = cube_root(&BigNum::from_slice(&block).unwrap());
        let mut context = BigNumContext::new().unwrap();
        let (mut square, mut cube) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        square.sqr(&root, &mut context).unwrap();
        cube.checked_mul(&square, &root, &mut context).unwrap();
        assert!(cube.to_vec_padded(256).unwrap().starts_with(&front), "the forgery is a good one");
        let signature = root.to_vec_padded(256).unwrap();
        assert_eq!(refused(&verifier, &with(&input, &signature)), Reject::Signature);
    }
}

/// Returns the largest number whose cube is at most `number`.
fn cube_root(number: &BigNum) -> BigNum {
    let mut context = BigNumContext::new().unwrap();
    let mut root = BigNum::new().unwrap();
    for bit in (0..=number.num_bits() / 3).rev() {
        root.set_bit(bit).unwrap();
        let (mut square, mut cube) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        square.sqr(&root, &mut context).unwrap();
        cube.checked_mul(&square, &root, &mut context).unwrap();
        if cube > *number {
            root.clear_bit(bit).unwrap();
        }
    }
    root
}

#[test]
fn a030_pss_salt() {
    let key = recast(&House::rs256().key, Algorithm::Ps256);
    let house = House::with_key(key.clone());
    let (input, _) = taken_apart(&house.token());
    let sha256 = MessageDigest::sha256();
    let sign = |salt: i32, mask| with(&input, &pss(&key, RsaPssSaltlen::custom(salt), mask, input.as_bytes()));
    accepted(&house.verifier(), &sign(32, sha256));
    for salt in [0, 1, 20, 31, 33, 64, 222] {
        assert_eq!(refused(&house.verifier(), &sign(salt, sha256)), Reject::Signature, "salt {salt}");
    }
    for mask in [MessageDigest::sha1(), MessageDigest::sha384(), MessageDigest::sha512()] {
        assert_eq!(refused(&house.verifier(), &sign(32, mask)), Reject::Signature);
    }
}

#[test]
fn a031_bitflip() {
    for house in [House::es256(), House::ed25519()] {
        let verifier = house.verifier();
        let token = house.token();
        accepted(&verifier, &token);
        let parts: Vec<Vec<u8>> = token.split('.').map(decode).collect();
        for part in 0..3 {
            for bit in 0..parts[part].len() * 8 {
                let mut changed = parts.clone();
                changed[part][bit / 8] ^= 1 << (bit % 8);
                let changed: Vec<String> = changed.iter().map(encode).collect();
                assert!(answer(&verifier, &changed.join(".")).is_err(), "bit {bit} of part {part}");
            }
        }
    }
}

#[test]
fn a032_truncated_hmac() {
    for (algorithm, length) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let key = VerifyingKey::hmac(Backend::default(), algorithm, &[7; 64]).unwrap();
        let verifier = trusting([key]).with_algorithms([algorithm]).build().unwrap();
        let token = mac_token(algorithm, &json!({ "alg": algorithm.name() }), &text(&claims()), &[7; 64]);
        accepted(&verifier, &token);
        let (input, mac) = taken_apart(&token);
        for cut in [1, 16, length / 2, length - 1] {
            assert_eq!(refused(&verifier, &with(&input, &mac[..cut])), Reject::Signature, "{algorithm} {cut}");
            assert_eq!(refused(&verifier, &with(&input, &mac[length - cut..])), Reject::Signature);
        }
        assert_eq!(refused(&verifier, &with(&input, &[&mac[..], &[0]].concat())), Reject::Signature);
    }
}

#[test]
fn a033_blank_password() {
    for (algorithm, at_least) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let error = Some(KeyError::SecretTooShort { bytes: 0, at_least });
        assert_eq!(VerifyingKey::hmac(Backend::default(), algorithm, b"").err(), error);
        assert_eq!(SigningKey::hmac(Backend::default(), algorithm, b"").err(), error);
        assert_eq!(load(&json!({ "kty": "oct", "alg": algorithm.name(), "k": "" })).err(), error);
        let token = mac_token(algorithm, &json!({ "alg": algorithm.name() }), &text(&claims()), b"");
        for house in House::all() {
            assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm);
        }
    }
}

#[test]
fn a034_weak_secret() {
    let long = "a".repeat(31);
    for secret in ["secret", "password", "your-256-bit-secret", "changeme", "", "0", &long] {
        let weak = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, secret.as_bytes());
        assert_eq!(weak.err(), Some(KeyError::SecretTooShort { bytes: secret.len(), at_least: 32 }), "{secret}");
        // What is enough for one hash is not for a larger one.
        assert!(SigningKey::hmac(Backend::default(), Algorithm::Hs384, secret.as_bytes()).is_err());
        let token = mac_token(Algorithm::Hs256, &json!({ "alg": "HS256" }), &text(&claims()), secret.as_bytes());
        assert_eq!(refused(&House::rs256().verifier(), &token), Reject::Algorithm);
    }
}

#[test]
fn a035_signature_oracle_error() {
    let secret = *b"a secret that nobody must read: ";
    let key = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &secret).unwrap();
    let verifier = trusting([key]).with_algorithms([Algorithm::Hs256]).build().unwrap();
    let header = json!({ "alg": "HS256" });
    let input = input(header.to_string(), text(&claims()));
    let token = with(&input, &[9; 32]);
    let refusal = wait(verifier.verify(&token, NOW)).unwrap_err();
    let trace = wait(verifier.explain(&token, NOW));
    let said = format!("{refusal} {refusal:?} {trace} {trace:?} {verifier:?}");
    assert_eq!(refused(&verifier, &token), Reject::Signature);
    let expected = hmac(Algorithm::Hs256, &secret, input.as_bytes());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for hidden in [
        encode(&expected),
        hex(&expected),
        format!("{:?}", &expected[..4]),
        encode(secret),
        hex(&secret),
        "nobody must read".to_owned(),
        format!("{:?}", &secret[..4]),
        encode([9; 32]),
        input[..40].to_owned(),
        "alice".to_owned(),
    ] {
        let hidden = hidden.trim_matches(['[', ']']);
        assert!(!said.contains(hidden), "{hidden} in {said}");
    }
}
