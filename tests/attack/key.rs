//! Group `key`: keys that the token brings or names, `kid` as a weapon, keys that are too weak or for something else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::{MessageDigest, hash};
use openssl::x509::{X509, X509NameBuilder};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{KeyError, KeySet, RemoteKeys, SigningKey, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Jwt, Reject, UnixSeconds, Verifier};
use sekisho_testkit::{Endpoint, FixedClock, Issuer};
use sekisho_tests::{AUDIENCE, House, ISSUER, NOW, accepted, answer, claims, encode, refused, text, trusting, wait};
use serde_json::{Value, json};

use crate::forge::{load, mac_token, member, private, recast, rsa, rsa_jwk};

/// Signs honest claims with the attacker's key under a header that is honest but for `changes`.
fn by_attacker(house: &House, attacker: &SigningKey, changes: Value) -> String {
    let mut header = house.header();
    header.insert("alg".into(), attacker.algorithm().name().into());
    House::with_key(attacker.clone()).sign(text(&sekisho_tests::changed(header, changes)), text(&claims()))
}

/// Lists ways to name, or not to name, the key that the token brings along.
fn names(house: &House) -> [Value; 3] {
    [json!(house.key.kid()), json!("REMOVE"), json!("attacker")]
}

#[test]
fn a036_embedded_jwk() {
    for house in House::all() {
        let attacker = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
        let same_kind = House::new(house.key.algorithm()).key;
        for key in [&attacker, &same_kind] {
            let mut jwk = key.public_jwk().unwrap();
            for kid in names(house) {
                if let Some(kid) = kid.as_str() {
                    jwk["kid"] = json!(kid);
                }
                refused(&house.verifier(), &by_attacker(house, key, json!({ "jwk": jwk, "kid": kid })));
                let set = json!({ "jwks": { "keys": [jwk] }, "kid": kid });
                refused(&house.verifier(), &by_attacker(house, key, set));
            }
        }
    }
}

#[test]
fn a038_embedded_jwk_oct() {
    let secret = [3; 32];
    let jwk = json!({ "kty": "oct", "alg": "HS256", "k": encode(secret) });
    for house in House::all() {
        for kid in [json!(house.key.kid()), json!("attacker")] {
            let header = json!({ "alg": "HS256", "jwk": jwk, "kid": kid });
            let token = mac_token(Algorithm::Hs256, &header, &text(&claims()), &secret);
            assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm);
        }
    }
    let shared = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap();
    let verifier = trusting([shared]).with_algorithms([Algorithm::Hs256]).build().unwrap();
    let token = mac_token(Algorithm::Hs256, &json!({ "alg": "HS256", "jwk": jwk }), &text(&claims()), &secret);
    assert_eq!(refused(&verifier, &token), Reject::Signature);
}

/// Writes down every URL that somebody wants fetched.
#[derive(Debug, Default)]
struct Recorder {
    wanted: Mutex<Vec<String>>,
    set: Mutex<String>,
}

#[async_trait::async_trait]
impl HttpClient for Recorder {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.wanted.lock().unwrap().push(request.url);
        let body = self.set.lock().unwrap().clone().into_bytes();
        Ok(HttpResponse { status: 200, headers: vec![("content-type".into(), "application/json".into())], body })
    }
}

const SET_URL: &str = "https://id.example/keys";

/// Sends tokens that say where their key is to be fetched, to a verifier that could fetch it, while a server of the
/// attacker waits for a call. Nothing but the configured URL is asked for.
fn fetches_nothing(member: &str, targets: impl Fn(&str, &str) -> Vec<String>) {
    wait(async {
        let attacker = Issuer::new().serve().await.unwrap();
        let house = House::es256();
        let recorder = Arc::new(Recorder::default());
        *recorder.set.lock().unwrap() = json!({ "keys": [house.key.public_jwk().unwrap()] }).to_string();
        let verifier = Jwt::issuer(ISSUER)
            .audience(AUDIENCE)
            .with_keys(RemoteKeys::new(SET_URL))
            .with_http_client(Arc::clone(&recorder) as _)
            .with_clock(Arc::new(FixedClock::at(NOW)))
            .build()
            .unwrap();
        let good = house.token();
        verifier.verify(&good, NOW).await.unwrap();
        let key = attacker.issuer().signing_key();
        let mut tried = 0;
        for target in targets(attacker.url(), &attacker.key_set_url()) {
            for kid in [json!(house.key.kid()), json!(key.kid()), json!("REMOVE")] {
                let token = by_attacker(house, &key, json!({ member: target, "kid": kid }));
                assert!(verifier.verify(&token, NOW).await.is_err(), "{target}");
                tried += 1;
            }
        }
        assert!(tried >= 3);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(attacker.requests(), Vec::<String>::new());
        let wanted = recorder.wanted.lock().unwrap().clone();
        assert!(!wanted.is_empty() && wanted.iter().all(|url| url == SET_URL), "{wanted:?}");
        assert!(wanted.len() <= 2, "the set itself, and one look for an unknown kid: {wanted:?}");
    });
}

#[test]
fn a039_jku() {
    fetches_nothing("jku", |_, keys| vec![keys.to_owned()]);
}

#[test]
fn a040_jku_lookalike() {
    fetches_nothing("jku", |url, _| {
        let host = url.strip_prefix("http://").unwrap();
        vec![
            format!("http://id.example@{host}/jwks"),
            format!("{url}/jwks#https://id.example/keys"),
            format!("{url}/jwks?https://id.example/keys"),
            format!("https://id.example/redirect?u={url}/jwks"),
            "https://id.example.evil.example/keys".to_owned(),
            "https://id.example/keys/../uploads/keys".to_owned(),
            "https://id.example/keys\r\nHost: evil.example".to_owned(),
            "file:///etc/passwd".to_owned(),
            "http://169.254.169.254/latest/meta-data".to_owned(),
        ]
    });
}

#[test]
fn a041_x5u() {
    fetches_nothing("x5u", |url, _| vec![format!("{url}/cert.pem"), "https://id.example/cert.pem".to_owned()]);
}

fn certificate(key: &SigningKey) -> X509 {
    let pkey = private(key);
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "id.example").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&pkey).unwrap();
    builder.set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    builder.sign(&pkey, MessageDigest::sha256()).unwrap();
    builder.build()
}

#[test]
fn a042_x5c() {
    let attacker = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
    let chain = json!([base64_simd::STANDARD.encode_to_string(certificate(&attacker).to_der().unwrap())]);
    for house in House::all() {
        for kid in names(house) {
            refused(&house.verifier(), &by_attacker(house, &attacker, json!({ "x5c": chain, "kid": kid })));
        }
    }
}

#[test]
fn a044_x5t_match_only() {
    let house = House::es256();
    let trusted = certificate(&house.key).to_der().unwrap();
    let key = VerifyingKey::from_x509_der(Backend::default(), &trusted).unwrap();
    let sha1 = encode(hash(MessageDigest::sha1(), &trusted).unwrap());
    let sha256 = encode(hash(MessageDigest::sha256(), &trusted).unwrap());
    let attacker = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
    let marks = json!({ "x5t": sha1, "x5t#S256": sha256, "kid": "REMOVE" });
    for kid in [None, Some(house.key.kid()), Some(&*sha1)] {
        let key = kid.map_or_else(|| key.clone(), |kid| key.clone().with_kid(kid));
        let verifier = trusting([key]).build().unwrap();
        refused(&verifier, &by_attacker(house, &attacker, marks.clone()));
        let named = json!({ "x5t": sha1, "x5t#S256": sha256, "kid": sha1 });
        refused(&verifier, &by_attacker(house, &attacker, named));
        if kid.is_none() {
            accepted(&verifier, &house.under(marks.clone()));
        }
    }
}

/// Signs by HS256 with what lies where `kid` points.
fn kid_mac(kid: &str, secret: &[u8]) -> String {
    let header = json!({ "alg": "HS256", "kid": kid, "typ": "at+jwt" });
    mac_token(Algorithm::Hs256, &header, &text(&claims()), secret)
}

/// Asserts that neither a verifier of public keys nor one of a shared secret takes the token.
fn refused_by_both(kid: &str, secret: &[u8]) {
    let shared = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap().with_kid("k1");
    let shared = trusting([shared]).with_algorithms([Algorithm::Hs256]).build().unwrap();
    let token = kid_mac(kid, secret);
    refused(&shared, &token);
    for house in House::all() {
        refused(&house.verifier(), &token);
        refused(&house.verifier(), &house.under(json!({ "kid": kid })));
    }
}

#[test]
fn a045_kid_path() {
    for kid in ["../../../../dev/null", "/dev/null", "..\\..\\nul", "file:///dev/null", "k1/../../dev/null"] {
        for secret in [&b""[..], b"\0", b"\n", &[0; 32]] {
            refused_by_both(kid, secret);
        }
    }
}

#[test]
fn a046_kid_sqli() {
    for kid in ["x' UNION SELECT '1';-- ", "' OR '1'='1", "k1'--", "1; DROP TABLE keys"] {
        refused_by_both(kid, b"1");
    }
}

#[test]
fn a047_kid_command() {
    let begun = Instant::now();
    for kid in ["| sleep 10", "$(sleep 10)", "`sleep 10`", "k1; sleep 10", "k1 && sleep 10"] {
        refused_by_both(kid, b"");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a048_kid_control() {
    for house in House::all() {
        let own = house.key.kid();
        for kid in [
            format!("{own}\r\nlevel=info msg=accepted"),
            format!("{own}\0"),
            "\u{0}".to_owned(),
            "k".repeat(4_000),
            format!("{own}\u{200b}"),
            format!("\u{202e}{own}"),
            own.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap()).collect(),
            format!("{own}\u{2028}x"),
            format!("\u{1b}[31m{own}"),
        ] {
            let token = house.under(json!({ "kid": kid }));
            refused(&house.verifier(), &token);
            let trace = wait(house.verifier().explain(&token, NOW));
            let lines = trace.to_string();
            assert_eq!(lines.lines().count(), trace.steps().len() + 1, "{lines}");
            assert!(lines.is_ascii() || lines.contains('…'), "{lines}");
            assert!(lines.chars().all(|c| c == '\n' || !c.is_control()) && lines.len() < 1_000, "{lines}");
        }
        // 64 KiB of it does not come as far as being read.
        let token = house.under(json!({ "kid": "k".repeat(65_536) }));
        assert_eq!(refused(&house.verifier(), &token), Reject::TooLarge);
    }
    // In a key set such names are escaped for the log too.
    let set = json!({ "keys": [{ "kty": "oct", "kid": "a\r\nb\u{202e}", "k": "AA" }] }).to_string();
    let set = KeySet::parse(Backend::default(), set.as_bytes()).unwrap();
    let line = set.skipped()[0].to_string();
    assert!(line.lines().count() == 1 && !line.contains('\u{202e}'), "{line}");
}

#[test]
fn a049_kid_not_string() {
    for house in House::all() {
        let own = house.key.kid();
        for kid in
            [json!(1), json!(null), json!([]), json!([own]), json!({ "$ne": null }), json!(true), json!({ "kid": own })]
        {
            assert_eq!(refused(&house.verifier(), &house.under(json!({ "kid": kid }))), Reject::Malformed, "{kid}");
        }
    }
}

/// Is a verifier whose keys come over HTTP from a testkit issuer, at a time that we set.
pub(crate) struct Remote {
    pub(crate) provider: sekisho_testkit::ServedIssuer,
    pub(crate) clock: FixedClock,
    pub(crate) verifier: Verifier,
}

impl Remote {
    pub(crate) async fn new() -> Self {
        let clock = FixedClock::at(NOW);
        let provider = Issuer::new().with_clock(clock.clone()).serve().await.unwrap();
        let verifier = Jwt::issuer(provider.url())
            .audience(AUDIENCE)
            .with_keys(RemoteKeys::new(provider.key_set_url()))
            .with_clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        Self { provider, clock, verifier }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        sekisho_core::Clock::now(&self.clock)
    }

    pub(crate) fn good(&self) -> String {
        self.provider.token().audience(AUDIENCE).sign()
    }

    pub(crate) async fn takes(&self, token: &str) -> bool {
        self.verifier.verify(token, self.now()).await.is_ok()
    }

    pub(crate) fn loads(&self) -> usize {
        self.provider.requests_to(Endpoint::KeySet)
    }
}

#[test]
fn a050_kid_unknown() {
    for house in House::all() {
        let token = house.under(json!({ "kid": "nobody-has-this" }));
        assert_eq!(refused(&house.verifier(), &token), Reject::UnknownKey);
    }
    wait(async {
        let remote = Remote::new().await;
        assert!(remote.takes(&remote.good()).await);
        let before = remote.loads();
        let refused = AtomicUsize::new(0);
        for number in 0..300 {
            let token = remote.provider.token().audience(AUDIENCE).header("kid", format!("unknown-{number}")).sign();
            let result = remote.verifier.verify(&token, remote.now()).await;
            assert!(matches!(result, Err(sekisho_jwt::Refusal::Reject(Reject::UnknownKey))), "{result:?}");
            refused.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(refused.into_inner(), 300);
        assert_eq!(remote.loads() - before, 1, "one bounded refresh");
        assert!(remote.takes(&remote.good()).await);
    });
}

#[test]
fn a052_kid_missing_one_key() {
    for house in House::all() {
        accepted(&house.verifier(), &house.under(json!({ "kid": "REMOVE" })));
    }
    wait(async {
        let remote = Remote::new().await;
        assert!(remote.takes(&remote.provider.token().audience(AUDIENCE).without_kid().sign()).await);
    });
}

#[test]
fn a053_kid_missing_many() {
    // Documented: up to four keys that fit are tried; with more the token is ambiguous.
    let houses: Vec<House> = (0..5).map(|_| House::new(Algorithm::Es256)).collect();
    let keys = |count: usize| houses[..count].iter().map(|house| house.key.verifying_key().with_kid("k"));
    let bare = |house: &House| house.under(json!({ "kid": "REMOVE" }));
    let four = trusting(keys(4)).build().unwrap();
    for house in &houses[..4] {
        accepted(&four, &bare(house));
    }
    assert_eq!(refused(&four, &bare(&houses[4])), Reject::Signature);
    let five = trusting(keys(5)).build().unwrap();
    for house in &houses {
        assert_eq!(refused(&five, &bare(house)), Reject::AmbiguousKey);
    }
    // Keys of another kind do not count.
    let mixed = trusting(keys(4).chain([House::rs256().key.verifying_key()])).build().unwrap();
    accepted(&mixed, &bare(&houses[3]));
    accepted(&mixed, &bare(House::rs256()));
}

#[test]
fn a054_kid_duplicate() {
    // Documented: both are tried if they fit the algorithm.
    let (first, second, stranger) =
        (House::new(Algorithm::Es256), House::new(Algorithm::Es256), House::new(Algorithm::Es256));
    let verifier = trusting([&first, &second].map(|house| house.key.verifying_key().with_kid("same"))).build().unwrap();
    let named = |house: &House| house.under(json!({ "kid": "same" }));
    accepted(&verifier, &named(&first));
    accepted(&verifier, &named(&second));
    assert_eq!(refused(&verifier, &named(&stranger)), Reject::Signature);
    let of_two_kinds = trusting([&first, House::rs256()].map(|house| house.key.verifying_key().with_kid("same")));
    let of_two_kinds = of_two_kinds.build().unwrap();
    accepted(&of_two_kinds, &named(House::rs256()));
    assert_eq!(refused(&of_two_kinds, &named(&second)), Reject::Signature);
}

#[test]
fn a055_use_enc() {
    for house in House::all() {
        let jwk = |changes: Value| {
            let members = sekisho_tests::object(house.key.public_jwk().unwrap());
            Value::Object(sekisho_tests::changed(members, changes))
        };
        for changes in [
            json!({ "use": "enc" }),
            json!({ "use": "" }),
            json!({ "use": ["sig"] }),
            json!({ "use": "REMOVE", "key_ops": ["encrypt"] }),
            json!({ "use": "REMOVE", "key_ops": ["sign"] }),
            json!({ "use": "REMOVE", "key_ops": [] }),
            json!({ "use": "REMOVE", "key_ops": "verify" }),
            json!({ "use": "REMOVE", "key_ops": ["verify", "wrapKey"] }),
            json!({ "use": "REMOVE", "key_ops": ["verify", "verify"] }),
            json!({ "use": "enc", "key_ops": ["verify"] }),
            json!({ "alg": "RSA-OAEP" }),
        ] {
            let set = json!({ "keys": [jwk(changes.clone())] }).to_string();
            let set = KeySet::parse(Backend::default(), set.as_bytes()).unwrap();
            assert_eq!((set.keys().len(), set.skipped().len()), (0, 1), "{changes}");
            assert!(load(&jwk(changes.clone())).is_err(), "{changes}");
            assert_eq!(refused(&trusting(set.keys().to_vec()).build().unwrap(), &house.token()), Reject::UnknownKey);
        }
        for changes in [json!({}), json!({ "use": "REMOVE" }), json!({ "use": "REMOVE", "key_ops": ["verify"] })] {
            let key = load(&jwk(changes)).unwrap();
            accepted(&trusting([key]).build().unwrap(), &house.token());
        }
    }
}

#[test]
fn a056_roca() {
    // A product of primes of the form k·M + (65537^a mod M) is 65537^c modulo each prime that divides M; so is k·M + 1.
    let mut product = BigNum::from_u32(1).unwrap();
    let is_prime = |n: &u32| (2..*n).all(|d| !n.is_multiple_of(d));
    for prime in (2..=167).filter(is_prime) {
        product.mul_word(prime).unwrap();
    }
    for bits in [2048, 3072] {
        let mut factor = BigNum::new().unwrap();
        factor.rand(bits - product.num_bits() + 1, MsbOption::MAYBE_ZERO, false).unwrap();
        factor.set_bit(bits - product.num_bits()).unwrap();
        let mut modulus = &product * &factor;
        modulus.add_word(1).unwrap();
        assert!(modulus.num_bits() >= bits);
        let error = load(&rsa_jwk(&modulus.to_vec(), &[1, 0, 1])).err();
        assert!(matches!(error, Some(KeyError::RsaModulus(_))), "{error:?}");
    }
    assert!(load(&rsa_jwk(&rsa(2048, 65_537).n().to_vec(), &[1, 0, 1])).is_ok());
}

#[test]
fn a057_rsa_1024() {
    for bits in [512, 1024, 2040] {
        let rsa = rsa(bits, 65_537);
        let found = rsa.n().num_bits() as usize;
        let error = Some(KeyError::RsaSize { bits: found });
        assert_eq!(load(&rsa_jwk(&rsa.n().to_vec(), &[1, 0, 1])).err(), error);
        assert_eq!(VerifyingKey::from_der(Backend::default(), &rsa.public_key_to_der().unwrap()).err(), error);
        assert_eq!(VerifyingKey::from_pem(Backend::default(), &rsa.public_key_to_pem_pkcs1().unwrap()).err(), error);
        let private = openssl::pkey::PKey::from_rsa(rsa).unwrap().private_key_to_pkcs8().unwrap();
        assert!(SigningKey::from_pkcs8_der(Backend::default(), Algorithm::Rs256, &private).is_err());
    }
    // As many bytes as 2048 bits need, but the first of them are zero.
    let padded = [vec![0; 128], rsa(1024, 65_537).n().to_vec()].concat();
    assert_eq!(load(&rsa_jwk(&padded, &[1, 0, 1])).err(), Some(KeyError::RsaSize { bits: 1024 }));
    let mut large = BigNum::new().unwrap();
    large.rand(8200, MsbOption::ONE, true).unwrap();
    assert_eq!(load(&rsa_jwk(&large.to_vec(), &[1, 0, 1])).err(), Some(KeyError::RsaSize { bits: 8200 }));
}

#[test]
fn a058_rsa_e1() {
    let modulus = member(&House::rs256().key.public_jwk().unwrap(), "n");
    for exponent in [&[][..], &[0], &[1], &[2], &[4], &[1, 0, 0], &[0xff; 9], &[2, 0, 0, 0, 1], &modulus] {
        assert_eq!(load(&rsa_jwk(&modulus, exponent)).err(), Some(KeyError::RsaExponent), "{exponent:?}");
    }
    let mut even = modulus.clone();
    *even.last_mut().unwrap() &= 0xfe;
    assert!(matches!(load(&rsa_jwk(&even, &[1, 0, 1])).err(), Some(KeyError::RsaModulus(_))));
    // With the exponent one every message is its own signature: such a token is refused with the key.
    let padded = [vec![0; 8], vec![1]].concat();
    assert_eq!(load(&rsa_jwk(&modulus, &padded)).err(), Some(KeyError::RsaExponent));
}

#[test]
fn a060_private_in_jwks() {
    for house in House::all() {
        let good = House::new(Algorithm::Es256);
        for secret in ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
            let mut jwk = house.key.public_jwk().unwrap();
            jwk[secret] = json!(encode([5; 32]));
            let set = json!({ "keys": [jwk, good.key.public_jwk().unwrap()] }).to_string();
            let set = KeySet::parse(Backend::default(), set.as_bytes()).unwrap();
            assert_eq!(set.skipped().iter().map(|key| key.reason()).collect::<Vec<_>>(), [KeyError::PrivateKey]);
            let verifier = trusting(set.keys().to_vec()).build().unwrap();
            assert_eq!(refused(&verifier, &house.token()), Reject::UnknownKey);
            accepted(&verifier, &good.token());
            let said = format!("{set:?} {}", set.skipped()[0]);
            assert!(!said.contains(&encode([5; 32])) && said.contains("no longer secret"), "{said}");
        }
    }
}

#[test]
fn a061_point_off_curve() {
    const P256: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let prime = BigNum::from_hex_str(P256).unwrap();
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::Es256K] {
        let house = House::new(algorithm);
        let jwk = house.key.public_jwk().unwrap();
        let (x, y) = (member(&jwk, "x"), member(&jwk, "y"));
        let with = |x: &[u8], y: &[u8]| {
            let mut jwk = jwk.clone();
            (jwk["x"], jwk["y"]) = (json!(encode(x)), json!(encode(y)));
            load(&jwk)
        };
        assert!(with(&x, &y).is_ok());
        let mut off = y.clone();
        *off.last_mut().unwrap() ^= 1;
        let zero = vec![0; x.len()];
        for (x, y) in [(&x, &off), (&y, &x), (&zero, &zero), (&zero, &y), (&x, &zero), (&vec![0xff; x.len()], &y)] {
            assert_eq!(with(x, y).err(), Some(KeyError::Point), "{algorithm}");
        }
        // Coordinates of another length, and none at all for the point at infinity.
        for (x, y) in [(&x[1..], &y[..]), (&x, &y[1..]), (&[&[0], &x[..]].concat(), &y), (&[], &[]), (&x, &[])] {
            assert!(with(x, y).is_err(), "{algorithm}");
        }
    }
    // x + p is the same x, written a second time; there is room for it on P-521 only, and p itself stands for zero.
    let house = House::es256();
    let mut jwk = house.key.public_jwk().unwrap();
    jwk["x"] = json!(encode(prime.to_vec()));
    assert_eq!(load(&jwk).err(), Some(KeyError::Point));
    // Points of low order, and encodings of no point, on the Edwards curve.
    for x in [[0; 32], [0xff; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": encode(x) });
        assert_eq!(load(&jwk).err(), Some(KeyError::Point), "{x:?}");
    }
    let recast = recast(&House::rs256().key, Algorithm::Rs256);
    assert!(answer(&House::rs256().verifier(), &House::with_key(recast).token()).is_ok());
}
