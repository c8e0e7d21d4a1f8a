//! What does a withdrawn token cost to remember, and what does it cost to ask, with ten million of them?

use std::alloc::System;
use std::collections::HashSet;
use std::hash::BuildHasher as _;

use sekisho_benches::ALLOCATOR;
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::report::{line, print_table, thousands, write_lines};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, RevocationCheck, UnixSeconds};
use sekisho_revocation::{RevocationList, Withdrawal};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ISSUER: &str = "https://id.example/realms/shop";
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const END: UnixSeconds = UnixSeconds::new(1_800_003_600);
/// How many principals ask, in an order that the processor cannot guess. Of few, everything is in the processor's
/// caches; of many, neither the principals are, which a service has just read, nor their places in the tables.
const FEW: u64 = 1 << 6;
const MANY: u64 = 1 << 16;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (entries, rounds) = if quick { (200_000, 5) } else { (10_000_000, 200) };
    println!("{} withdrawn tokens, ids of 36 characters; {rounds} interleaved rounds\n", thousands(entries as f64));

    let before = live();
    let list = RevocationList::builder().with_max_entries(entries as usize + 10).build().unwrap();
    let empty = live() - before;
    for number in 0..entries {
        list.withdraw(&Withdrawal::token(ISSUER, &id(number), END).unwrap(), NOW).unwrap();
    }
    let (own, counted) = (live() - before, list.heap_bytes());
    let before = live();
    let strings: HashSet<String> = (0..entries).map(id).collect();
    let set = live() - before;
    let each = |bytes: f64| bytes / entries as f64;
    println!(
        "bytes an entry: {:.1} ({:.1} by its own count; empty it holds {} bytes), HashSet<String> {:.1}\n",
        each(own as f64),
        each(counted as f64),
        thousands(empty as f64),
        each(set as f64),
    );
    let mut lines = vec![
        figure(&format!("sekisho list of {entries}, bytes an entry"), each(own as f64), "bytes"),
        figure(&format!("HashSet<String> of {entries}, bytes an entry"), each(set as f64), "bytes"),
    ];

    let check = list.local();
    let has = |principal: &Principal| strings.contains(&*principal.token_id().unwrap());
    let is_revoked = |principal: &Principal| check.is_revoked(principal, NOW).unwrap();
    for (asking, state) in [(FEW, "warm"), (MANY, "cold")] {
        let step = entries / asking;
        let known: Vec<Principal> = (0..asking).map(|number| principal(&id(number * step))).collect();
        let unknown: Vec<Principal> = (0..asking).map(|number| principal(&id(entries + number))).collect();
        assert!(known.iter().all(|principal| is_revoked(principal) && has(principal)));
        assert!(!unknown.iter().any(|principal| is_revoked(principal) || has(principal)));
        let (hit, miss) =
            (format!("HashSet<String>, {state}, is there"), format!("HashSet<String>, {state}, is not there"));
        let [mut one, mut two, mut three, mut four, mut five] = [(); 5].map(|()| Picker::new(asking));
        let rows = measure(
            vec![
                Case::new(format!("reading a {state} token id, part of all below"), &hit, || {
                    known[one.next()].token_id().is_some()
                }),
                Case::new(&hit, &hit, || has(&known[two.next()])),
                Case::new(format!("sekisho list, {state}, is there"), &hit, || is_revoked(&known[three.next()])),
                Case::new(&miss, &miss, || has(&unknown[four.next()])),
                Case::new(format!("sekisho list, {state}, is not there"), &miss, || is_revoked(&unknown[five.next()])),
            ],
            rounds,
        );
        print_table(&rows);
        println!();
        lines.extend(rows.iter().map(line));
        // A service has just read the principal, so this is what a look-up adds to a request.
        let median = |case: &str| rows.iter().find(|row| row.case == case).unwrap().median_ns;
        for what in ["is there", "is not there"] {
            let case = format!("sekisho list, {state}, {what}");
            let rest = median(&case) - median(&format!("reading a {state} token id, part of all below"));
            println!("{case}, without the reading of the id: {rest:.0} ns");
            lines.push(figure(&format!("{case}, without the reading of the id"), rest, "ns"));
        }
        println!();
    }

    // From now on each question is three: token, session, subject.
    list.withdraw(&Withdrawal::session(ISSUER, "s", END).unwrap(), NOW).unwrap();
    list.withdraw(&Withdrawal::subject(ISSUER, "u", NOW, END).unwrap(), NOW).unwrap();
    let principals: Vec<Principal> = (0..FEW).map(|number| principal(&id(entries + number))).collect();
    let mut picker = Picker::new(FEW);
    let all = "sekisho list, warm, neither token nor session nor subject is there";
    let rows = measure(vec![Case::new(all, all, || is_revoked(&principals[picker.next()]))], rounds);
    print_table(&rows);
    lines.extend(rows.iter().map(line));
    write_lines("revocation", &lines);
}

/// Writes a number as an id that looks like a UUID.
fn id(number: u64) -> String {
    let hash = |seed: u64| foldhash::fast::FixedState::with_seed(seed).hash_one(number);
    let (high, low) = (hash(1), hash(2));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & ((1 << 48) - 1)
    )
}

fn principal(token_id: &str) -> Principal {
    let claims = PrincipalBuilder::new(ISSUER, "0c2f9a52-5d3c-4b39-9a55-2f6f6f0d8a11").with_claim("jti", token_id);
    claims.with_claim("sid", "7c1d7f7e-6f1b-4a0e-8f4d-3d2f4a0b9c11").with_claim("iat", NOW.as_secs()).build().unwrap()
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

/// Picks principals in an order that the processor cannot guess, the same for all cases.
struct Picker {
    among: u64,
    step: u64,
}

impl Picker {
    const fn new(among: u64) -> Self {
        Self { among, step: 0 }
    }

    fn next(&mut self) -> usize {
        self.step += 1;
        (foldhash::fast::FixedState::with_seed(3).hash_one(self.step) % self.among) as usize
    }
}
