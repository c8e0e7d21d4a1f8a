//! What does a token cost that was verified before, what does its entry weigh, and what can strangers make the cache and
//! the key source grow to?

use std::alloc::System;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use sekisho_benches::claims::{AUDIENCE, Claims, ISSUER, claims, now};
use sekisho_benches::keys::{Alg, BenchKey};
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::report::{line, print_table, thousands, write_lines};
use sekisho_benches::{ALLOCATOR, base64url, from_base64url};
use sekisho_core::{Principal, Refusal, UnixSeconds};
use sekisho_jwt::jwks::{KeySet, RemoteKeys, StaticKeys};
use sekisho_jwt::{Backend, CacheLimits, Jwt, JwtBuilder, Profile, Verifier};
use sekisho_testkit::{Endpoint, Issuer};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let sizes = if quick { Sizes::QUICK } else { Sizes::FULL };
    let mut lines = hits(&sizes);
    for entries in [sizes.entries, sizes.different] {
        lines.extend(entry(entries));
    }
    lines.extend(many_tokens(&sizes));
    lines.extend(unknown_kids(&sizes));
    write_lines("cached", &lines);
}

struct Sizes {
    entries: usize,
    hot: usize,
    rounds: usize,
    different: usize,
    seconds: u64,
}

impl Sizes {
    const FULL: Self = Self { entries: 10_000, hot: 1_000, rounds: 200, different: 100_000, seconds: 5 };
    const QUICK: Self = Self { entries: 500, hot: 50, rounds: 5, different: 2_000, seconds: 1 };
}

/// Measures answers from memory: ours against a bare RS256 check and against what one would write by hand.
fn hits(sizes: &Sizes) -> Vec<Value> {
    let Sizes { entries, hot, rounds, .. } = *sizes;
    let key = BenchKey::generate(Alg::Rs256);
    let tokens: Vec<_> = (0..entries).map(|number| key.token(&claims(ISSUER, number))).collect();
    println!(
        "{entries} tokens of {} bytes in the cache, {hot} of them hot; {rounds} interleaved rounds\n",
        tokens[0].len()
    );

    let at = UnixSeconds::new(now());
    let ours = verifier(&key, entries * 2);
    let moka = moka::sync::Cache::<String, Arc<Claims>>::new(entries as u64 * 2);
    let by_hand = RwLock::new(HashMap::<String, Arc<Claims>>::new());
    for token in &tokens {
        let verified = ours.verify_now(token, at).unwrap().unwrap().typed::<Claims>().unwrap();
        let claims = Arc::new(verified.get().custom().clone());
        moka.insert(token.clone(), Arc::clone(&claims));
        by_hand.write().unwrap().insert(token.clone(), claims);
    }
    assert_eq!(ours.cached_tokens(), entries, "every token is in the cache");

    let (input, signature) = tokens[0].rsplit_once('.').unwrap();
    let (input, signature) = (input.as_bytes(), from_base64url(signature));
    let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.raw).unwrap();
    let mut pick = Picker::new(hot);
    let baseline = "RS256 raw aws-lc-rs";
    let cases = vec![
        Case::new(baseline, baseline, || parsed.verify_sig(input, &signature).unwrap()),
        Case::new("sekisho, cached principal", baseline, {
            let mut pick = pick.clone();
            let (ours, tokens) = (&ours, &tokens);
            move || ours.verify_now(&tokens[pick.next()], at).unwrap().unwrap()
        }),
        Case::new("sekisho, cached principal, typed claims parsed again", baseline, {
            let mut pick = pick.clone();
            let (ours, tokens) = (&ours, &tokens);
            move || ours.verify_now(&tokens[pick.next()], at).unwrap().unwrap().typed::<Claims>().unwrap()
        }),
        Case::new("moka by token, shared claims", baseline, {
            let mut pick = pick.clone();
            let (moka, tokens) = (&moka, &tokens);
            move || moka.get(&tokens[pick.next()]).unwrap()
        }),
        Case::new("HashMap by token behind a RwLock, shared claims", baseline, {
            let (by_hand, tokens) = (&by_hand, &tokens);
            move || Arc::clone(by_hand.read().unwrap().get(&tokens[pick.next()]).unwrap())
        }),
    ];
    let rows = measure(cases, rounds);
    print_table(&rows);
    rows.iter().map(line).collect()
}

/// Weighs the cache: all of the heap it holds, less the tokens' text, less the claims that any holder of a principal has.
fn entry(count: usize) -> Vec<Value> {
    let key = BenchKey::generate(Alg::EdDsa);
    let at = UnixSeconds::new(now());
    let tokens: Vec<_> = (0..count).map(|number| key.token(&claims(ISSUER, number))).collect();
    let text: usize = tokens.iter().map(String::len).sum();

    let uncached = builder(&key).without_cache().build().unwrap();
    let mut held: Vec<Principal> = Vec::with_capacity(count);
    let before = live();
    held.extend(tokens.iter().map(|token| uncached.verify_now(token, at).unwrap().unwrap().into_inner()));
    let principals = live() - before;
    drop(held);

    let before = live();
    let cached = builder(&key).with_cache(limits(count)).build().unwrap();
    let empty = live() - before;
    for token in &tokens {
        cached.verify_now(token, at).unwrap().unwrap();
    }
    let kept = cached.cached_tokens();
    let full = live() - before;
    let per = |bytes: isize| bytes as f64 / kept as f64;
    // What was evicted, if anything, holds neither text nor claims any more.
    let share = kept as f64 / count as f64;
    let (text, claims) = (text as f64 * share / kept as f64, per(principals) * share);
    let rest = per(full) - text - claims;
    println!(
        "\n{kept} of {count} tokens kept, bytes of heap an entry: token {text:.0}, claims and principal {claims:.0}, rest {rest:.1}"
    );
    println!("(an empty verifier with a cache for as many holds {} bytes)", thousands(empty as f64));
    vec![
        figure(&format!("bytes an entry of {count}: token text"), text, "bytes"),
        figure(&format!("bytes an entry of {count}: claims and principal"), claims, "bytes"),
        figure(&format!("bytes an entry of {count}: rest"), rest, "bytes"),
    ]
}

/// Shows ten times as many tokens as the cache has room for.
fn many_tokens(sizes: &Sizes) -> Vec<Value> {
    let Sizes { entries, different, .. } = *sizes;
    let key = BenchKey::generate(Alg::EdDsa);
    let cached = builder(&key).with_cache(limits(entries)).build().unwrap();
    let at = UnixSeconds::new(now());
    println!("\n{} different tokens, a cache for {}:", thousands(different as f64), thousands(entries as f64));
    println!("| tokens shown | in the cache | heap, bytes |");
    println!("|--:|--:|--:|");
    let before = live();
    let mut lines = Vec::new();
    for number in 1..=different {
        let token = key.token(&claims(ISSUER, number));
        cached.verify_now(&token, at).unwrap().unwrap();
        drop(token);
        if number.is_multiple_of(different / 10) {
            let (kept, heap) = (cached.cached_tokens(), live() - before);
            println!("| {} | {} | {} |", thousands(number as f64), thousands(kept as f64), thousands(heap as f64));
            lines.push(figure(&format!("heap after {number} different tokens"), heap as f64, "bytes"));
        }
    }
    lines
}

/// Sends tokens with unknown `kid`s, 10,000 a second, beside honest ones.
fn unknown_kids(sizes: &Sizes) -> Vec<Value> {
    const PER_TICK: usize = 100;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let provider = Issuer::new().serve().await.unwrap();
        let verifier = Jwt::issuer(provider.url())
            .audience(AUDIENCE)
            .with_keys(RemoteKeys::new(provider.key_set_url()))
            .build()
            .unwrap();
        let honest: Vec<_> = (0..64).map(|_| provider.token().audience(AUDIENCE).sign()).collect();
        for token in &honest {
            verifier.verify(token, UnixSeconds::new(now())).await.unwrap();
        }
        let (fetched, before) = (provider.requests_to(Endpoint::KeySet), live());
        let payload = honest[0].split('.').nth(1).unwrap();
        let (mut sent, mut refused, mut failed, mut honest_sent, mut slowest) =
            (0_u64, 0_u64, 0_u64, 0_u64, Duration::ZERO);
        let start = Instant::now();
        let mut highest = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while start.elapsed() < Duration::from_secs(sizes.seconds) {
            tick.tick().await;
            let at = UnixSeconds::new(now());
            for _ in 0..PER_TICK {
                sent += 1;
                let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("stranger-{sent}") });
                let token = format!("{}.{payload}.{}", base64url(header.to_string().as_bytes()), base64url(&[7; 64]));
                match verifier.verify(&token, at).await {
                    Ok(_) => panic!("a stranger got in"),
                    Err(Refusal::Reject(_)) => refused += 1,
                    Err(_) => failed += 1,
                }
            }
            let begin = Instant::now();
            verifier.verify(&honest[sent as usize / PER_TICK % honest.len()], at).await.unwrap();
            slowest = slowest.max(begin.elapsed());
            honest_sent += 1;
            highest = highest.max(live() - before);
        }
        let (seconds, fetches) = (start.elapsed().as_secs_f64(), provider.requests_to(Endpoint::KeySet) - fetched);
        println!(
            "\nunknown `kid`s: {} in {seconds:.1} s ({} a second)",
            thousands(sent as f64),
            thousands(sent as f64 / seconds)
        );
        println!("- outbound fetches meanwhile: {fetches}");
        println!(
            "- refused {}, answered as a failure {}, let in 0",
            thousands(refused as f64),
            thousands(failed as f64)
        );
        println!("- heap at most {} bytes above the start", thousands(highest as f64));
        println!("- honest tokens meanwhile: {honest_sent}, all accepted, the slowest in {slowest:.1?}");
        vec![
            figure("unknown kids a second", sent as f64 / seconds, "tokens a second"),
            figure("unknown kids: outbound fetches", fetches as f64, "fetches"),
            figure("unknown kids: heap above the start", highest as f64, "bytes"),
        ]
    })
}

fn builder(key: &BenchKey) -> JwtBuilder {
    let set = KeySet::parse(Backend::default(), key.key_set().as_bytes()).unwrap();
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_profile(Profile::keycloak()).with_keys(StaticKeys::from_set(&set))
}

fn verifier(key: &BenchKey, entries: usize) -> Verifier {
    builder(key).with_cache(limits(entries)).build().unwrap()
}

fn limits(entries: usize) -> CacheLimits {
    CacheLimits::new(entries, 1 << 30)
}

/// Returns the bytes of heap that are in use.
fn live() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

/// Makes a line of a figure that is not a time.
fn figure(case: &str, value: f64, unit: &str) -> Value {
    json!({
        "case": case, "median_ns": null, "baseline": null, "ratio": null, "allocations": null,
        "value": (value * 10.0).round() / 10.0, "unit": unit,
    })
}

/// Picks among the hot tokens in an order that the processor cannot guess, the same for all cases.
#[derive(Clone)]
struct Picker {
    hot: u64,
    hasher: foldhash::fast::FixedState,
    step: u64,
}

impl Picker {
    fn new(hot: usize) -> Self {
        Self { hot: hot as u64, hasher: foldhash::fast::FixedState::default(), step: 0 }
    }

    fn next(&mut self) -> usize {
        self.step += 1;
        (self.hasher.hash_one(self.step) % self.hot) as usize
    }
}
