//! Group `jwe`: encrypted tokens that cost, tell or let in more than they should.

use std::time::{Duration, Instant};

use josekit::jwe::alg::pbes2_hmac_aeskw::Pbes2HmacAeskwJweAlgorithm;
use josekit::jwe::{ECDH_ES, JweEncrypter, JweHeader, RSA_OAEP};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use sekisho_jwt::{ContentEncryption, DecryptionKey, KeyManagement, Reject, Verifier, encrypt};
use sekisho_tests::{House, accepted, claims, decode, encode, refused, text};
use serde_json::{Value, json};

use crate::forge::rsa;

const SECRET: [u8; 64] = [9; 64];

/// Is a verifier of encrypted tokens, and what a sender needs.
struct Recipient {
    verifier: Verifier,
    rsa: Vec<u8>,
    ec: Vec<u8>,
}

impl Recipient {
    fn new() -> Self {
        let rsa = PKey::from_rsa(rsa(2048, 65_537)).unwrap();
        let ec = PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap())
            .unwrap();
        let (rsa_pem, ec_pem) = (rsa.private_key_to_pem_pkcs8().unwrap(), ec.private_key_to_pem_pkcs8().unwrap());
        let mut builder = House::ed25519().builder().with_max_token_bytes(65_536);
        for management in [KeyManagement::RsaOaep, KeyManagement::RsaOaep256] {
            builder = builder.with_decryption_key(DecryptionKey::from_pem(management, &rsa_pem).unwrap());
        }
        for management in ECDH {
            builder = builder.with_decryption_key(DecryptionKey::from_pem(management, &ec_pem).unwrap());
        }
        // The shared secret serves one content encryption for each length, by its `kid`.
        for (encryption, length) in CONTENT {
            let key = DecryptionKey::direct(encryption, &SECRET[..length]).unwrap().with_kid(format!("{encryption:?}"));
            builder = builder.with_decryption_key(key);
        }
        let (rsa, ec) = (rsa.public_key_to_pem().unwrap(), ec.public_key_to_pem().unwrap());
        Self { verifier: builder.build().unwrap(), rsa, ec }
    }

    fn refuses(&self, token: &str) -> Reject {
        refused(&self.verifier, token)
    }

    /// Encrypts an honest token with a shared secret.
    fn direct(encryption: ContentEncryption, length: usize) -> [String; 5] {
        let kid = format!("{encryption:?}");
        let good = House::ed25519().token();
        let token = encrypt(&good, KeyManagement::Direct, encryption, Some(&kid), &SECRET[..length]).unwrap();
        apart(&token)
    }
}

const ECDH: [KeyManagement; 4] =
    [KeyManagement::EcdhEs, KeyManagement::EcdhEsA128Kw, KeyManagement::EcdhEsA192Kw, KeyManagement::EcdhEsA256Kw];

const CONTENT: [(ContentEncryption, usize); 6] = [
    (ContentEncryption::A128Gcm, 16),
    (ContentEncryption::A192Gcm, 24),
    (ContentEncryption::A256Gcm, 32),
    (ContentEncryption::A128CbcHs256, 32),
    (ContentEncryption::A192CbcHs384, 48),
    (ContentEncryption::A256CbcHs512, 64),
];

fn apart(token: &str) -> [String; 5] {
    token.split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

/// Encrypts by josekit, with whatever header.
fn seal(header: &[(&str, Value)], content: &[u8], encrypter: &dyn JweEncrypter) -> String {
    let mut made = JweHeader::new();
    made.set_content_encryption("A256GCM");
    made.set_content_type("JWT");
    for (name, value) in header {
        made.set_claim(name, Some(value.clone())).unwrap();
    }
    josekit::jwe::serialize_compact(content, &made, encrypter).unwrap()
}

fn seconds(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

/// The way in is open: otherwise all that follows would be refused for nothing.
#[test]
fn every_way_of_encryption_that_is_allowed_lets_a_signed_token_through_and_nothing_else() {
    let recipient = Recipient::new();
    let good = House::ed25519().token();
    let expired = House::ed25519().saying(json!({ "exp": 1 }));
    let seal_all = |content: &str, management: KeyManagement, key: &[u8]| {
        CONTENT.map(|(encryption, _)| encrypt(content, management, encryption, None, key).unwrap())
    };
    for (management, key) in [(KeyManagement::RsaOaep, &recipient.rsa), (KeyManagement::RsaOaep256, &recipient.rsa)]
        .into_iter()
        .chain(ECDH.map(|management| (management, &recipient.ec)))
    {
        for token in seal_all(&good, management, key) {
            accepted(&recipient.verifier, &token);
            assert_eq!(refused(&House::ed25519().verifier(), &token), Reject::Malformed, "without keys to open it");
        }
        for token in seal_all(&expired, management, key) {
            assert!(matches!(recipient.refuses(&token), Reject::Expired { .. }));
        }
    }
    for (encryption, length) in CONTENT {
        accepted(&recipient.verifier, &Recipient::direct(encryption, length).join("."));
    }
    // Claims that are encrypted and not signed, an unsigned token, and a second envelope in the first.
    let encrypter = RSA_OAEP.encrypter_from_pem(&recipient.rsa).unwrap();
    assert_eq!(recipient.refuses(&seal(&[], text(&claims()).as_bytes(), &encrypter)), Reject::Malformed);
    let unsigned = format!("{}.", sekisho_tests::input(r#"{"alg":"none"}"#, text(&claims())));
    recipient.refuses(&seal(&[], unsigned.as_bytes(), &encrypter));
    let twice = seal(&[], seal(&[], good.as_bytes(), &encrypter).as_bytes(), &encrypter);
    assert_eq!(recipient.refuses(&twice), Reject::Malformed);
    recipient.refuses(&seal(&[], &[0xff; 100], &encrypter));
    accepted(&recipient.verifier, &seal(&[], good.as_bytes(), &encrypter));
}

#[test]
fn a109_zip_bomb() {
    let recipient = Recipient::new();
    let encrypter = RSA_OAEP.encrypter_from_pem(&recipient.rsa).unwrap();
    let zip = ("zip", json!("DEF"));
    // Forty kilobytes that stand for forty million.
    let bomb = seal(std::slice::from_ref(&zip), &vec![b'A'; 40_000_000], &encrypter);
    assert!(bomb.len() > 40_000 && bomb.len() < 65_536, "{} bytes", bomb.len());
    let time = seconds(|| assert_eq!(recipient.refuses(&bomb), Reject::Malformed));
    assert!(time < Duration::from_secs(5), "{time:?}");
    // It is not the size that is refused, but that it is compressed.
    let honest = seal(&[zip], House::ed25519().token().as_bytes(), &encrypter);
    assert_eq!(recipient.refuses(&honest), Reject::Malformed);
    let large =
        format!("{}.x.x.{}.x", encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}"#), "A".repeat(1 << 20));
    assert_eq!(recipient.refuses(&large), Reject::TooLarge);
}

#[test]
fn a110_pbes2_count() {
    let recipient = Recipient::new();
    let algorithm = Pbes2HmacAeskwJweAlgorithm::Pbes2Hs256A128kw;
    let mut encrypter = algorithm.encrypter_from_bytes(b"a password").unwrap();
    encrypter.set_iter_count(2_000);
    let honest = seal(&[], House::ed25519().token().as_bytes(), &encrypter);
    recipient.refuses(&honest);
    let [_, rest @ ..] = apart(&honest);
    for count in [json!(2_147_483_647), json!(1_000_000_000), json!(1), json!(0), json!(-1), json!(1e18), json!("9")] {
        let header = json!({ "alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "cty": "JWT", "p2s": encode([1; 16]), "p2c": count });
        let token = [encode(header.to_string()), rest.join(".")].join(".");
        let time = seconds(|| assert_eq!(recipient.refuses(&token), Reject::UnknownKey, "{count}"));
        assert!(time < Duration::from_secs(5), "{count}: {time:?}");
    }
}

#[test]
fn a111_invalid_curve() {
    let recipient = Recipient::new();
    let encrypter = ECDH_ES.encrypter_from_pem(&recipient.ec).unwrap();
    let good = seal(&[], House::ed25519().token().as_bytes(), &encrypter);
    accepted(&recipient.verifier, &good);
    let [header, rest @ ..] = apart(&good);
    let header: Value = serde_json::from_slice(&decode(&header)).unwrap();
    let (x, y) = (decode(header["epk"]["x"].as_str().unwrap()), decode(header["epk"]["y"].as_str().unwrap()));
    let mut off = y.clone();
    off[31] ^= 1;
    let point = |curve: &str, x: &[u8], y: &[u8]| json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) });
    for epk in [
        point("P-256", &x, &off),
        point("P-256", &y, &x),
        point("P-256", &[0; 32], &[0; 32]),
        point("P-256", &[0xff; 32], &y),
        point("P-256", &[], &[]),
        point("P-384", &[&[0; 16], &x[..]].concat(), &[&[0; 16], &y[..]].concat()),
        point("P-521", &x, &y),
        point("secp256k1", &x, &y),
        json!({ "kty": "OKP", "crv": "X25519", "x": encode([0; 32]) }),
        json!({ "kty": "OKP", "crv": "X25519", "x": encode([1; 32]) }),
        json!({ "kty": "oct", "k": encode([0; 32]) }),
        json!(null),
        json!("epk"),
    ] {
        for alg in ["ECDH-ES", "ECDH-ES+A128KW"] {
            let mut header = header.clone();
            (header["epk"], header["alg"]) = (epk.clone(), json!(alg));
            let mut parts = rest.clone();
            if alg != "ECDH-ES" {
                parts[0] = encode([1; 40]);
            }
            let token = [encode(header.to_string()), parts.join(".")].join(".");
            assert_eq!(recipient.refuses(&token), Reject::Signature, "{epk}");
        }
    }
}

#[test]
fn a112_rsa1_5_oracle() {
    let recipient = Recipient::new();
    #[expect(deprecated, reason = "it is the attack")]
    let encrypter = josekit::jwe::RSA1_5.encrypter_from_pem(&recipient.rsa).unwrap();
    let [header, key, rest @ ..] = apart(&seal(&[], House::ed25519().token().as_bytes(), &encrypter));
    // Right, with wrong padding, of wrong length: all are refused before the private key is touched.
    let mut flipped = decode(&key);
    flipped[100] ^= 1;
    for key in [key.clone(), encode(&flipped), encode([0; 256]), encode([1; 255]), encode([0xff; 256]), String::new()] {
        let token = [header.clone(), key, rest.join(".")].join(".");
        assert_eq!(recipient.refuses(&token), Reject::UnknownKey);
    }
    // With OAEP, whatever is wrong inside gives one answer.
    let encrypter = RSA_OAEP.encrypter_from_pem(&recipient.rsa).unwrap();
    let [header, key, nonce, content, tag] = apart(&seal(&[], House::ed25519().token().as_bytes(), &encrypter));
    let mut flipped = decode(&key);
    flipped[100] ^= 1;
    let mut other = decode(&tag);
    other[0] ^= 1;
    let short = {
        let public = openssl::rsa::Rsa::public_key_from_pem(&recipient.rsa).unwrap();
        let mut sealed = vec![0; 256];
        public.public_encrypt(&[7; 16], &mut sealed, openssl::rsa::Padding::PKCS1_OAEP).unwrap();
        encode(sealed)
    };
    for (key, tag) in [(encode(&flipped), tag.clone()), (short, tag), (key, encode(other))] {
        let token = [header.clone(), key, nonce.clone(), content.clone(), tag].join(".");
        assert_eq!(recipient.refuses(&token), Reject::Signature);
    }
}

#[test]
fn a113_tag_truncated() {
    let recipient = Recipient::new();
    for (encryption, length) in CONTENT {
        let [header, key, nonce, content, tag] = Recipient::direct(encryption, length);
        let whole = decode(&tag);
        let build = |tag: &[u8]| [header.clone(), key.clone(), nonce.clone(), content.clone(), encode(tag)].join(".");
        accepted(&recipient.verifier, &build(&whole));
        for cut in [1, 4, 8, 12, whole.len() - 1] {
            assert_eq!(recipient.refuses(&build(&whole[..cut])), Reject::Malformed, "{encryption:?} {cut}");
        }
        assert_eq!(recipient.refuses(&build(&[&whole[..], &[0]].concat())), Reject::Malformed);
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(recipient.refuses(&build(&flipped)), Reject::Signature);
        // A nonce of another length.
        for nonce in [&[][..], &[0; 8], &[0; 64]] {
            let token = [header.clone(), key.clone(), encode(nonce), content.clone(), tag.clone()].join(".");
            assert_eq!(recipient.refuses(&token), Reject::Malformed, "{encryption:?}");
        }
    }
}

#[test]
fn a114_empty_tag_gcm() {
    let recipient = Recipient::new();
    for (encryption, length) in CONTENT {
        let [header, key, nonce, content, _] = Recipient::direct(encryption, length);
        let mut altered = decode(&content);
        *altered.last_mut().unwrap() ^= 1;
        for content in [content, encode(altered)] {
            let token = [header.clone(), key.clone(), nonce.clone(), content, String::new()].join(".");
            assert_eq!(recipient.refuses(&token), Reject::Malformed, "{encryption:?}");
        }
    }
}

#[test]
fn a115_alg_dir_with_key() {
    let recipient = Recipient::new();
    for (encryption, length) in CONTENT {
        let [header, _, rest @ ..] = Recipient::direct(encryption, length);
        for key in [encode([0]), encode(&SECRET[..length]), encode([7; 40])] {
            let token = [header.clone(), key, rest.join(".")].join(".");
            assert_eq!(recipient.refuses(&token), Reject::Malformed, "{encryption:?}");
        }
    }
    // The same for direct agreement, and the other way round: no key where there must be one.
    let encrypter = ECDH_ES.encrypter_from_pem(&recipient.ec).unwrap();
    let [header, _, rest @ ..] = apart(&seal(&[], House::ed25519().token().as_bytes(), &encrypter));
    assert_eq!(recipient.refuses(&[header, encode([7; 40]), rest.join(".")].join(".")), Reject::Malformed);
    let encrypter = RSA_OAEP.encrypter_from_pem(&recipient.rsa).unwrap();
    let [header, _, rest @ ..] = apart(&seal(&[], House::ed25519().token().as_bytes(), &encrypter));
    assert_eq!(recipient.refuses(&[header, String::new(), rest.join(".")].join(".")), Reject::Malformed);
}
