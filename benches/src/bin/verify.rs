//! What does verifying one token cost, from its text to typed claims, without any cache of tokens?
//!
//! The baseline of an algorithm is its bare signature check by `aws-lc-rs` with a key parsed beforehand.

use std::alloc::System;
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature as aws;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use huskarl_core::crypto::verifier::{JwsVerifier, JwsVerifierPlatform, MultiKeyVerifier};
use huskarl_core::jwk::{Jwk, PrivateJwk, PublicJwks};
use huskarl_crypto_native::NativeVerifierPlatform;
use huskarl_crypto_native::symmetric::SymmetricKey;
use huskarl_resource_server::validator::custom::CustomValidator;
use jsonwebtoken::{DecodingKey, Validation};
use jwt_simple::prelude::{self as simple, EdDSAPublicKeyLike as _, MACLike as _};
use jwt_simple::prelude::{ECDSAP256PublicKeyLike as _, ECDSAP384PublicKeyLike as _, RSAPublicKeyLike as _};
use sekisho_benches::claims::{AUDIENCE, BorrowedClaims, Claims, ISSUER, OwnClaims, claims, now};
use sekisho_benches::keys::{Alg, BenchKey};
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::report::report;
use sekisho_benches::{from_base64url, ready};
use sekisho_core::UnixSeconds;
use sekisho_jwt::jwks::{KeySet, StaticKeys, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Jwt, Profile, Verifier};
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let rounds = if arguments.iter().any(|argument| argument == "--quick") { 5 } else { 100 };
    let spin = arguments.iter().position(|argument| argument == "--spin").and_then(|at| arguments.get(at + 1));
    let keys: Vec<_> = Alg::ALL.into_iter().map(BenchKey::generate).collect();
    let tokens: Vec<_> = keys.iter().map(|key| key.token(&claims(ISSUER, 1))).collect();
    println!("one token of 15 claims, {} bytes with RS256; {rounds} interleaved rounds\n", tokens[0].len());
    let mut cases = Vec::new();
    for (key, token) in keys.iter().zip(&tokens) {
        cases.extend(cases_of(key, token));
    }
    if let Some(name) = spin {
        // For a profiler: this one case alone, for three seconds.
        let case = cases.iter_mut().find(|case| case.name() == name).expect("a case of this name");
        return case.spin(Duration::from_secs(3));
    }
    report("verify", &measure(cases, rounds));
}

/// Lists what is measured for one algorithm; each library gets its key parsed beforehand, in the form it documents.
fn cases_of<'a>(key: &'a BenchKey, token: &'a str) -> Vec<Case<'a>> {
    let alg = key.alg;
    let baseline = format!("{} raw aws-lc-rs", alg.name());
    let case = |name: &str| format!("{} {name}", alg.name());
    let mut cases = raw(key, token, &baseline);

    let ours = sekisho(key);
    let at = UnixSeconds::new(now());
    cases.push(Case::new(case("sekisho, typed claims"), &baseline, {
        let ours = ours.clone();
        move || ours.verify_now(token, at).unwrap().unwrap().typed::<Claims>().unwrap()
    }));
    cases.push(Case::new(case("sekisho, borrowed typed claims"), &baseline, {
        let ours = ours.clone();
        move || {
            let verified = ours.verify_now(token, at).unwrap().unwrap();
            let claims = verified.get().claims().deserialize::<BorrowedClaims<'_>>().unwrap();
            // What is borrowed cannot leave: it is used here, as a handler would.
            black_box(&claims);
            drop(claims);
            verified
        }
    }));
    cases.push(Case::new(case("sekisho, principal"), &baseline, move || ours.verify_now(token, at).unwrap().unwrap()));

    let (decoding, validation) = jsonwebtoken(key);
    cases.push(Case::new(case("jsonwebtoken, decode<Claims>"), &baseline, {
        let (decoding, validation) = (decoding.clone(), validation.clone());
        move || jsonwebtoken::decode::<Claims>(token, &decoding, &validation).unwrap()
    }));
    cases.push(Case::new(case("jsonwebtoken, decode<Value>"), &baseline, move || {
        jsonwebtoken::decode::<Value>(token, &decoding, &validation).unwrap()
    }));

    cases.push(jwt_simple(key, token, case(JWT_SIMPLE), &baseline));
    #[cfg(feature = "openssl")]
    cases.push(josekit_case(key, token, case("josekit"), &baseline));

    let validator = huskarl(key);
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    let uri = Uri::from_static("https://api.example/orders");
    cases.push(Case::new(case("huskarl-resource-server"), &baseline, move || {
        ready(validator.validate_request(&headers, &Method::GET, &uri, None)).outcome.unwrap().unwrap()
    }));
    cases
}

const JWT_SIMPLE: &str = if cfg!(feature = "boringssl") { "jwt-simple" } else { "jwt-simple, pure-rust" };

/// Checks the bare signature: everything decoded and parsed beforehand.
fn raw<'a>(key: &'a BenchKey, token: &'a str, baseline: &str) -> Vec<Case<'a>> {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (input, signature) = (input.as_bytes(), from_base64url(signature));
    let ring_name = format!("{} raw ring", key.alg.name());
    if key.alg == Alg::Hs256 {
        let aws_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key.raw);
        let ring_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key.raw);
        let again = signature.clone();
        return vec![
            Case::new(baseline, baseline, move || aws_lc_rs::hmac::verify(&aws_key, input, &signature).unwrap()),
            Case::new(ring_name, baseline, move || ring::hmac::verify(&ring_key, input, &again).unwrap()),
        ];
    }
    let (aws_algorithm, ring_algorithm): (
        &'static dyn aws::VerificationAlgorithm,
        &'static dyn ring::signature::VerificationAlgorithm,
    ) = match key.alg {
        Alg::Rs256 => (&aws::RSA_PKCS1_2048_8192_SHA256, &ring::signature::RSA_PKCS1_2048_8192_SHA256),
        Alg::Es256 => (&aws::ECDSA_P256_SHA256_FIXED, &ring::signature::ECDSA_P256_SHA256_FIXED),
        Alg::Es384 => (&aws::ECDSA_P384_SHA384_FIXED, &ring::signature::ECDSA_P384_SHA384_FIXED),
        _ => (&aws::ED25519, &ring::signature::ED25519),
    };
    let aws_key = aws::ParsedPublicKey::new(aws_algorithm, &key.raw).unwrap();
    let ring_key = ring::signature::UnparsedPublicKey::new(ring_algorithm, &key.raw);
    let again = signature.clone();
    vec![
        Case::new(baseline, baseline, move || aws_key.verify_sig(input, &signature).unwrap()),
        Case::new(ring_name, baseline, move || ring_key.verify(input, &again).unwrap()),
    ]
}

fn sekisho(key: &BenchKey) -> Verifier {
    let builder = Jwt::issuer(ISSUER).audience(AUDIENCE).with_profile(Profile::keycloak()).without_cache();
    if key.alg == Alg::Hs256 {
        let shared = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &key.raw).unwrap().with_kid(&key.kid);
        return builder.with_algorithms([Algorithm::Hs256]).with_keys(StaticKeys::new([shared])).build().unwrap();
    }
    let set = KeySet::parse(Backend::default(), key.key_set().as_bytes()).unwrap();
    builder.with_keys(StaticKeys::from_set(&set)).build().unwrap()
}

fn jsonwebtoken(key: &BenchKey) -> (DecodingKey, Validation) {
    let algorithm = key.alg.name().parse().unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let decoding = DecodingKey::from_jwk(&serde_json::from_value(key.jwk.clone()).unwrap()).unwrap();
    (decoding, validation)
}

fn jwt_simple<'a>(key: &BenchKey, token: &'a str, name: String, baseline: &str) -> Case<'a> {
    let options = simple::VerificationOptions {
        allowed_issuers: Some(HashSet::from([ISSUER.to_owned()])),
        allowed_audiences: Some(HashSet::from([AUDIENCE.to_owned()])),
        time_tolerance: Some(simple::Duration::from_secs(60)),
        ..simple::VerificationOptions::default()
    };
    macro_rules! case {
        ($key:expr) => {{
            let parsed = $key;
            Case::new(name, baseline, move || parsed.verify_token::<OwnClaims>(token, Some(options.clone())).unwrap())
        }};
    }
    match key.alg {
        Alg::Rs256 => case!(simple::RS256PublicKey::from_der(&key.der).unwrap()),
        Alg::Es256 => case!(simple::ES256PublicKey::from_der(&key.der).unwrap()),
        Alg::Es384 => case!(simple::ES384PublicKey::from_der(&key.der).unwrap()),
        Alg::EdDsa => case!(simple::Ed25519PublicKey::from_bytes(&key.raw).unwrap()),
        Alg::Hs256 => case!(simple::HS256Key::from_bytes(&key.raw)),
    }
}

#[cfg(feature = "openssl")]
fn josekit_case<'a>(key: &BenchKey, token: &'a str, name: String, baseline: &str) -> Case<'a> {
    use josekit::jws::{ES256, ES384, EdDSA, HS256, JwsVerifier, RS256};
    let verifier: Box<dyn JwsVerifier> = match key.alg {
        Alg::Rs256 => Box::new(RS256.verifier_from_der(&key.der).unwrap()),
        Alg::Es256 => Box::new(ES256.verifier_from_der(&key.der).unwrap()),
        Alg::Es384 => Box::new(ES384.verifier_from_der(&key.der).unwrap()),
        Alg::EdDsa => Box::new(EdDSA.verifier_from_der(&key.der).unwrap()),
        Alg::Hs256 => Box::new(HS256.verifier_from_bytes(&key.raw).unwrap()),
    };
    let mut validator = josekit::jwt::JwtPayloadValidator::new();
    validator.set_issuer(ISSUER);
    validator.set_audience(AUDIENCE);
    Case::new(name, baseline, move || {
        let (payload, _header) = josekit::jwt::decode_with_verifier(token, &*verifier).unwrap();
        validator.validate(&payload).unwrap();
        payload
    })
}

fn huskarl(key: &BenchKey) -> CustomValidator<OwnClaims> {
    let jwk: Jwk = serde_json::from_value(key.jwk.clone()).unwrap();
    let verifier: Arc<dyn JwsVerifier> = match jwk.private_jwk() {
        Some(PrivateJwk::Symmetric(shared)) => Arc::new(SymmetricKey::from_jwk(shared).unwrap()),
        _ => {
            let keys = PublicJwks::new(vec![jwk.public_jwk().unwrap()]);
            Arc::new(ready(MultiKeyVerifier::from_jwks(&keys, &NativeVerifierPlatform)).unwrap())
        }
    };
    let factory = move |_: Option<&huskarl_core::EndpointUrl>, _: Arc<dyn JwsVerifierPlatform>| {
        let verifier = Arc::clone(&verifier);
        Box::pin(async move { Ok(verifier) }) as huskarl_core::platform::MaybeSendBoxFuture<'static, _>
    };
    let built = CustomValidator::builder()
        .with_claims::<OwnClaims>()
        .iss(ISSUER)
        .aud(AUDIENCE)
        .jws_verifier_factory(factory)
        .build();
    ready(built).unwrap()
}
