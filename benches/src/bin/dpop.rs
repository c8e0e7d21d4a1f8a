//! What does a proof of possession (DPoP) add to a token that is known, beside its own signature?

use std::alloc::System;
use std::cell::Cell;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::signature as aws;
use sekisho_benches::from_base64url;
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::report::report;
use sekisho_core::{
    Authenticate as _, Credential, CredentialKind, Failure, Occurrence, OneTimeUse, Presentation, ProofHeader,
    ReplayGuard, UnixSeconds,
};
use sekisho_jwt::{Dpop, Jwt, MemoryReplayGuard};
use sekisho_testkit::{DpopKey, FixedClock, Issuer};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// Lets the same proof pass again and again, so that its check can be repeated; the real memory is measured by itself.
#[derive(Debug)]
struct Forgetful;

#[async_trait]
impl ReplayGuard for Forgetful {
    fn is_immediate(&self) -> bool {
        true
    }

    fn insert_now(&self, _: &OneTimeUse, _: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
        Some(Ok(Occurrence::First))
    }

    async fn insert(&self, _: &OneTimeUse, _: UnixSeconds) -> Result<Occurrence, Failure> {
        Ok(Occurrence::First)
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let issuer = Issuer::new().with_clock(FixedClock::at(NOW));
    let key = DpopKey::generate().with_clock(FixedClock::at(NOW));
    let builder = || Jwt::issuer(issuer.url()).audience("orders").with_keys(issuer.static_keys());
    let verifier = builder().with_dpop(Dpop::new().with_replay_guard(Arc::new(Forgetful))).build().unwrap();
    let bearer = issuer.token().audience("orders").sign();
    let token = issuer.token().audience("orders").bound_to(&key).sign();
    let proof = key.proof("GET", "https://api.example/orders").for_token(&token).sign();
    println!("a token of {} bytes by ES256, a proof of {} bytes by ES256\n", token.len(), proof.len());

    let (input, signature) = proof.rsplit_once('.').unwrap();
    let signature = from_base64url(signature);
    let jwk = key.jwk();
    let point = |name: &str| from_base64url(jwk[name].as_str().unwrap());
    let raw = [&[4][..], &point("x"), &point("y")].concat();
    let parsed = aws::ParsedPublicKey::new(&aws::ECDSA_P256_SHA256_FIXED, &raw).unwrap();

    let bases = ["https://api.example".into()];
    let shown = Presentation::new("GET", &bases, "/orders").with_proof(ProofHeader::One(&proof));
    let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
    let plain = builder().build().unwrap();
    let guard = MemoryReplayGuard::new();
    let place = Cell::new(0_u64);
    let baseline = "ES256 raw aws-lc-rs";
    let cases = vec![
        Case::new(baseline, baseline, || parsed.verify_sig(input.as_bytes(), &signature).unwrap()),
        Case::new("bound token from the cache, and its proof", baseline, || {
            verifier.authenticate_now(sent, NOW).unwrap().unwrap()
        }),
        Case::new("bearer token from the cache, where proofs are taken", baseline, || {
            verifier.authenticate_now(Credential::bearer(&bearer), NOW).unwrap().unwrap()
        }),
        Case::new("bearer token from the cache, where none are", baseline, || {
            plain.authenticate_now(Credential::bearer(&bearer), NOW).unwrap().unwrap()
        }),
        Case::new("memory of used proofs, one more", baseline, || {
            place.set(place.get() + 1);
            // A thousand a second, by a thousand clients: 301,000 are held.
            let now = UnixSeconds::new(NOW.as_secs() + place.get() / 1000);
            let mut id = [0; 32];
            id[..8].copy_from_slice(&place.get().to_be_bytes());
            let mut holder = [0; 32];
            holder[..8].copy_from_slice(&(place.get() % 1000).to_be_bytes());
            let once = OneTimeUse::new(holder, id, UnixSeconds::new(now.as_secs() + 301));
            guard.insert_now(&once, now).unwrap().unwrap()
        }),
    ];
    report("dpop", &measure(cases, if quick { 5 } else { 200 }));
}
