//! Where does the time beside the signature go?

use std::alloc::System;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho_benches::claims::{BorrowedClaims, Claims, ISSUER, claims};
use sekisho_benches::keys::{Alg, BenchKey};
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::report::report;
use sekisho_core::json::JsonObject;
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let key = BenchKey::generate(Alg::Hs256);
    let token = key.token(&claims(ISSUER, 1));
    let mut parts = token.split('.');
    let (header, payload) = (parts.next().unwrap(), parts.next().unwrap());
    let header_json = URL_SAFE_NO_PAD.decode(header).unwrap();
    let json = URL_SAFE_NO_PAD.decode(payload).unwrap();
    let checked = JsonObject::parse(json.clone()).unwrap();
    println!("a payload of {} bytes of JSON, {} of base64url\n", json.len(), payload.len());
    let whole = "serde_json into typed claims";
    let cases = vec![
        Case::new(whole, whole, || serde_json::from_slice::<Claims>(&json).unwrap()),
        Case::new("serde_json into borrowed typed claims", whole, || {
            serde_json::from_slice::<BorrowedClaims<'_>>(&json).unwrap().exp
        }),
        Case::new("serde_json into Value", whole, || serde_json::from_slice::<Value>(&json).unwrap()),
        Case::new("base64url of the payload, base64-simd", whole, || {
            base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap()
        }),
        Case::new("base64url of the payload, base64", whole, || URL_SAFE_NO_PAD.decode(payload).unwrap()),
        Case::new("sekisho strict JSON, checked and indexed (with a copy of the bytes)", whole, || {
            JsonObject::parse(json.clone()).unwrap()
        }),
        Case::new("the same for the header, which is remembered after its first token", whole, || {
            JsonObject::parse(header_json.clone()).unwrap()
        }),
        Case::new("typed claims out of checked JSON", whole, || checked.deserialize::<Claims>().unwrap()),
        Case::new("borrowed typed claims out of checked JSON", whole, || {
            checked.deserialize::<BorrowedClaims<'_>>().unwrap().exp
        }),
    ];
    report("parts", &measure(cases, if quick { 5 } else { 200 }));
}
