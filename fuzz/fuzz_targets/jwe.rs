//! Any bytes as the parts of an encrypted token, under a header of each algorithm that is taken, for a verifier that has the keys.
#![no_main]

use std::sync::LazyLock;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use libfuzzer_sys::fuzz_target;
use sekisho_fuzz::{AUDIENCE, FIXTURE, ISSUER, NOW};
use sekisho_jwks::{SigningKey, StaticKeys};
use sekisho_jwt::{Algorithm, Backend, ContentEncryption, DecryptionKey, Jwt, KeyManagement, Refusal, Verifier};

const MANAGEMENTS: [&str; 7] =
    ["dir", "RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"];
const ENCRYPTIONS: [&str; 6] = ["A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512"];

struct Opener {
    verifier: Verifier,
    /// A point of the curve, for `epk`.
    x: String,
    y: String,
}

static OPENER: LazyLock<Opener> = LazyLock::new(|| {
    let generate = |algorithm| SigningKey::generate(Backend::default(), algorithm).expect("a key");
    let (signing, rsa, ec) = (generate(Algorithm::Ed25519), generate(Algorithm::Rs256), generate(Algorithm::Es256));
    let pem = |key: &SigningKey| {
        let der = STANDARD.encode_to_string(&*key.to_pkcs8_der().expect("it can be written"));
        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
    };
    let (rsa, ec_pem) = (pem(&rsa), pem(&ec));
    let direct = DecryptionKey::direct(ContentEncryption::A128CbcHs256, &[7; 32]).expect("a good secret");
    let builder = Jwt::issuer(ISSUER)
        .audience(AUDIENCE)
        .with_keys(StaticKeys::new([signing.verifying_key()]))
        .with_max_token_bytes(65_536)
        .with_decryption_key(direct);
    let verifier = [
        (KeyManagement::RsaOaep, &rsa),
        (KeyManagement::RsaOaep256, &rsa),
        (KeyManagement::EcdhEs, &ec_pem),
        (KeyManagement::EcdhEsA128Kw, &ec_pem),
        (KeyManagement::EcdhEsA192Kw, &ec_pem),
        (KeyManagement::EcdhEsA256Kw, &ec_pem),
    ]
    .into_iter()
    .fold(builder, |builder, (management, pem)| {
        builder.with_decryption_key(DecryptionKey::from_pem(management, pem.as_bytes()).expect("a good key"))
    })
    .build()
    .expect("a good configuration");
    let point = ec.public_jwk().expect("a public half");
    let coordinate = |name: &str| point[name].as_str().expect("a string").to_owned();
    Opener { verifier, x: coordinate("x"), y: coordinate("y") }
});

fuzz_target!(|bytes: &[u8]| {
    let Some(([management, encryption, key, nonce, tag], rest)) = bytes.split_first_chunk() else { return };
    let management = MANAGEMENTS[usize::from(*management) % MANAGEMENTS.len()];
    let encryption = ENCRYPTIONS[usize::from(*encryption) % ENCRYPTIONS.len()];
    let Opener { verifier, x, y } = &*OPENER;
    let header = format!(
        r#"{{"alg":"{management}","enc":"{encryption}","cty":"JWT","epk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#
    );
    let (key, rest) = rest.split_at(rest.len().min(usize::from(*key)));
    let (nonce, rest) = rest.split_at(rest.len().min(usize::from(*nonce)));
    let (tag, content) = rest.split_at(rest.len().min(usize::from(*tag)));
    let parts = [header.as_bytes(), key, nonce, content, tag].map(|part| BASE64.encode_to_string(part));
    let token = parts.join(".");
    // Nobody has guessed the secret or signed what is inside.
    let answer = verifier.verify_now(&token, NOW).expect("keys that are at hand");
    assert!(matches!(answer, Err(Refusal::Reject(_))), "{token}");
    assert!(matches!(FIXTURE.verifier.verify_now(&token, NOW), Some(Err(_))));
});
