//! Group `alg`: no algorithm, and one algorithm taken for another.

use sekisho_jwks::{KeyError, KeySet, SigningKey, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, ContentEncryption, KeyManagement, Reject, encrypt};
use sekisho_tests::{House, accepted, claims, encode, input, refused, text, trusting};
use serde_json::json;

use crate::forge::{hmac, load, mac_token, private, public_forms, recast};

const SECRET: [u8; 32] = [7; 32];

fn payload() -> String {
    text(&claims())
}

#[test]
fn a001_none_lower() {
    for house in House::all() {
        for header in [json!({ "alg": "none" }), json!({ "alg": "none", "typ": "at+jwt", "kid": house.key.kid() })] {
            let unsigned = input(header.to_string(), payload());
            for token in [format!("{unsigned}."), unsigned] {
                refused(&house.verifier(), &token);
            }
        }
    }
}

#[test]
fn a002_none_case_variants() {
    for house in House::all() {
        for name in ["None", "NONE", "nOnE", "none ", " none", "none\0", "n\u{43e}ne", "\u{ff4e}one"] {
            let header = json!({ "alg": name, "typ": "at+jwt" }).to_string();
            refused(&house.verifier(), &format!("{}.", input(&header, payload())));
            assert_eq!(refused(&house.verifier(), &house.sign(&header, payload())), Reject::Algorithm, "{name:?}");
        }
        // Written with an escape it is the same name.
        let token = house.sign(r#"{"alg":"\u006eone"}"#, payload());
        assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm);
    }
}

#[test]
fn a003_none_with_signature() {
    for house in House::all() {
        let header = json!({ "alg": "none", "kid": house.key.kid(), "typ": "at+jwt" }).to_string();
        let original = house.token();
        let signature = original.rsplit('.').next().unwrap();
        let kept = format!("{}.{signature}", input(&header, payload()));
        assert_eq!(refused(&house.verifier(), &kept), Reject::Algorithm);
        assert_eq!(refused(&house.verifier(), &house.sign(&header, payload())), Reject::Algorithm);
    }
}

#[test]
fn a005_alg_empty() {
    for house in House::all() {
        let unsigned = input(r#"{"alg":"","typ":"at+jwt"}"#, payload());
        refused(&house.verifier(), &format!("{unsigned}."));
        assert_eq!(refused(&house.verifier(), &house.sign_input(&unsigned)), Reject::Algorithm);
    }
}

#[test]
fn a006_alg_missing() {
    let secret = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &SECRET).unwrap();
    let verifier = trusting([secret]).with_algorithms([Algorithm::Hs256]).build().unwrap();
    let good = mac_token(Algorithm::Hs256, &json!({ "alg": "HS256", "typ": "JWT" }), &payload(), &SECRET);
    accepted(&verifier, &good);
    let token = mac_token(Algorithm::Hs256, &json!({ "typ": "JWT" }), &payload(), &SECRET);
    assert_eq!(refused(&verifier, &token), Reject::Algorithm);
    for house in House::all() {
        assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm);
        assert_eq!(refused(&house.verifier(), &house.under(json!({ "alg": "REMOVE" }))), Reject::Algorithm);
    }
}

#[test]
fn a007_alg_not_string() {
    for house in House::all() {
        let own = house.key.algorithm().name();
        for value in
            [json!(256), json!(null), json!([]), json!([own]), json!({ "a": 1 }), json!({ own: own }), json!(true)]
        {
            assert_eq!(refused(&house.verifier(), &house.under(json!({ "alg": value }))), Reject::Algorithm, "{value}");
        }
    }
}

/// Signs by HMAC with each form of the public key as the secret.
fn confuse(house: &House, wanted: &[&str]) {
    let forms = public_forms(&house.key);
    for name in wanted {
        assert!(forms.iter().any(|(form, _)| form == name), "{name}");
    }
    for (form, secret) in &forms {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            for header in [
                json!({ "alg": algorithm.name(), "kid": house.key.kid(), "typ": "at+jwt" }),
                json!({ "alg": algorithm.name() }),
            ] {
                let token = mac_token(algorithm, &header, &payload(), secret);
                assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm, "{form}");
                // Whoever allows HMAC still has no secret: a public key does not fit it.
                let careless = house.builder().with_algorithms([algorithm]).build().unwrap();
                assert_eq!(refused(&careless, &token), Reject::UnknownKey, "{form}");
            }
        }
    }
}

#[test]
fn a009_rs_to_hs_pem() {
    confuse(House::rs256(), &["PEM", "PEM without the last newline"]);
    // The mistake itself is refused too: the text of a PEM document as a secret.
    let pem = private(&House::rs256().key).public_key_to_pem().unwrap();
    let mistaken = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &pem);
    assert_eq!(mistaken.err(), Some(KeyError::SecretIsPem));
}

#[test]
fn a010_rs_to_hs_der() {
    confuse(House::rs256(), &["SPKI DER", "PKCS#1 DER", "modulus", "JWK text"]);
}

#[test]
fn a011_ec_to_hs() {
    confuse(House::es256(), &["x and y", "04, x and y", "PEM", "OpenSSH text"]);
}

/// Publishes the RSA key for one algorithm and signs with it by others.
fn swap(published: Algorithm, signed: &[Algorithm]) {
    let key = recast(&House::rs256().key, published);
    let set = json!({ "keys": [key.public_jwk().unwrap()] }).to_string();
    let set = KeySet::parse(Backend::default(), set.as_bytes()).unwrap();
    let verifier = trusting(set.keys().to_vec()).build().unwrap();
    accepted(&verifier, &House::with_key(key.clone()).token());
    for &algorithm in signed {
        let token = House::with_key(recast(&key, algorithm)).token();
        assert_eq!(refused(&verifier, &token), Reject::UnknownKey, "{published} {algorithm}");
        // The same signature under the algorithm of the key.
        let lying = House::with_key(recast(&key, algorithm)).under(json!({ "alg": published.name() }));
        assert_eq!(refused(&verifier, &lying), Reject::Signature, "{published} {algorithm}");
    }
}

#[test]
fn a013_ps_vs_rs() {
    swap(Algorithm::Ps256, &[Algorithm::Rs256]);
}

#[test]
fn a014_rs_vs_ps() {
    swap(Algorithm::Rs256, &[Algorithm::Ps256]);
}

#[test]
fn a015_hash_swap() {
    swap(Algorithm::Rs256, &[Algorithm::Rs384, Algorithm::Rs512]);
    swap(Algorithm::Ps512, &[Algorithm::Ps256, Algorithm::Ps384]);
}

#[test]
fn a016_curve_swap() {
    for curve in [Algorithm::Es384, Algorithm::Es512, Algorithm::Es256K] {
        let house = House::new(curve);
        let verifier = house.verifier();
        accepted(&verifier, &house.token());
        assert_eq!(refused(&verifier, &house.under(json!({ "alg": "ES256" }))), Reject::UnknownKey, "{curve}");
        // A key that says ES256 and lies on another curve is no key.
        let mut jwk = house.key.public_jwk().unwrap();
        jwk["alg"] = json!("ES256");
        assert_eq!(load(&jwk).err(), Some(KeyError::Algorithm), "{curve}");
    }
}

#[test]
fn a018_allow_list() {
    let house = House::rs256();
    let verifier = house.builder().with_algorithms([Algorithm::Es256]).build().unwrap();
    assert_eq!(refused(&verifier, &house.token()), Reject::Algorithm);
}

#[test]
fn a019_hs_in_mixed_jwks() {
    let house = House::rs256();
    let secret = json!({ "kty": "oct", "kid": house.key.kid(), "alg": "HS256", "k": encode(SECRET) });
    for keys in [json!([house.key.public_jwk().unwrap(), secret]), json!([secret, house.key.public_jwk().unwrap()])] {
        let set = KeySet::parse(Backend::default(), json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        assert_eq!((set.keys().len(), set.skipped()[0].reason()), (1, KeyError::PublishedSecret));
        let header = json!({ "alg": "HS256", "kid": house.key.kid(), "typ": "at+jwt" });
        let token = mac_token(Algorithm::Hs256, &header, &payload(), &SECRET);
        let verifier = trusting(set.keys().to_vec()).build().unwrap();
        assert_eq!(refused(&verifier, &token), Reject::Algorithm);
        accepted(&verifier, &house.token());
    }
    // Also when the owner hands both in, the allow-list holds, and it cannot name both kinds.
    let secret = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &SECRET).unwrap().with_kid(house.key.kid());
    let both = || trusting([house.key.verifying_key(), secret.clone()]);
    let header = json!({ "alg": "HS256", "kid": house.key.kid(), "typ": "at+jwt" });
    let token = mac_token(Algorithm::Hs256, &header, &payload(), &SECRET);
    assert_eq!(refused(&both().build().unwrap(), &token), Reject::Algorithm);
    assert!(both().with_algorithms([Algorithm::Rs256, Algorithm::Hs256]).build().is_err());
}

#[test]
fn a020_unknown_alg() {
    for house in House::all() {
        for name in
            ["RS257", "HS1", "foo", "rs256", "es256", "eddsa", "RSA", "dir", "A128KW", "ES256 ", "RS256\0", "Ed448"]
        {
            let token = house.under(json!({ "alg": name }));
            assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm, "{name}");
        }
    }
}

#[test]
fn a021_sign_encrypt_confusion() {
    let house = House::rs256();
    let pem = private(&house.key).public_key_to_pem().unwrap();
    let good = house.token();
    for (management, recipient) in
        [(KeyManagement::RsaOaep, &*pem), (KeyManagement::RsaOaep256, &*pem), (KeyManagement::Direct, &[7; 32][..])]
    {
        let token = encrypt(&good, management, ContentEncryption::A256Gcm, Some(house.key.kid()), recipient).unwrap();
        assert_eq!(token.split('.').count(), 5);
        assert_eq!(refused(&house.verifier(), &token), Reject::Malformed);
        // Three of its parts are no signed token either.
        let parts: Vec<&str> = token.split('.').collect();
        refused(&house.verifier(), &[parts[0], parts[3], parts[4]].join("."));
    }
}

#[test]
fn a147_client_secret_hs256() {
    let house = House::rs256();
    let secret = b"the client secret, which is long enough to be one";
    for header in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "kid": house.key.kid() })] {
        let token = mac_token(Algorithm::Hs256, &header, &payload(), secret);
        assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm);
        let key = SigningKey::hmac(Backend::default(), Algorithm::Hs256, secret).unwrap();
        assert_eq!(key.sign(b"m").unwrap(), hmac(Algorithm::Hs256, secret, b"m"));
        // Taken only where the owner says that this issuer signs so.
        let told = trusting([key.verifying_key()]).with_algorithms([Algorithm::Hs256]).build().unwrap();
        if header.get("kid").is_none() {
            accepted(&told, &token);
        }
    }
}
