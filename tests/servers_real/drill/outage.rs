//! What goes on while the issuer is dead, what is refused and how, and what comes back by itself?

use std::time::{Duration, Instant};

use sekisho_testkit::Issuer as Stranger;

use super::load::{Load, Shot, Target};
use super::parts::{Feed, Gateway, Issuer};
use super::{ALONE, number, seconds};
use crate::setup::altered;

/// Within this after the issuer's return everything has to be well again. The longest pause is the one between two questions
/// about unknown keys, 30 s.
const SOON: Duration = Duration::from_secs(45);

/// What a target has to show: before the outage, while it lasts, and in the end.
struct Expected {
    name: &'static str,
    /// The statuses that may come, in this order, from the kill to the return; none for what is not asked for before.
    before: &'static [u16],
    during: &'static [u16],
    at_last: u16,
}

const EXPECTED: [Expected; 9] = [
    // The keys are there; nobody is asked about revocation.
    Expected { name: JWT, before: &[200], during: &[200], at_last: 200 },
    // Until the feed has been away for too long.
    Expected { name: JWT_FED, before: &[200], during: &[200, 503], at_last: 200 },
    Expected { name: REVOKED, before: &[401], during: &[401], at_last: 401 },
    // Until the answer is too old.
    Expected { name: OPAQUE, before: &[200], during: &[200, 503], at_last: 200 },
    Expected { name: NEW_OPAQUE, before: &[], during: &[503], at_last: 200 },
    Expected { name: UNKNOWN_KEY, before: &[], during: &[503], at_last: 401 },
    Expected { name: ALTERED, before: &[401], during: &[401], at_last: 401 },
    Expected { name: NOTHING, before: &[401], during: &[401], at_last: 401 },
    Expected { name: LATE, before: &[], during: &[503], at_last: 200 },
];

const JWT: &str = "JWT, known key";
const JWT_FED: &str = "JWT, known key, revocation asked";
const REVOKED: &str = "JWT revoked before";
const OPAQUE: &str = "opaque token, answer in the cache";
const NEW_OPAQUE: &str = "opaque token not seen before";
const UNKNOWN_KEY: &str = "JWT, unknown key";
const ALTERED: &str = "JWT with an altered signature";
const NOTHING: &str = "no token";
const LATE: &str = "JWT at a gateway started meanwhile";

/// The statuses of a target in a stretch of time, each with how long after its beginning it was first seen.
fn phases(shots: &[Shot], target: &str, from: Instant, to: Instant) -> Vec<(u16, Duration)> {
    let mut phases: Vec<(u16, Duration)> = Vec::new();
    for shot in shots.iter().filter(|shot| shot.target == target && shot.sent >= from && shot.answered < to) {
        if phases.last().is_none_or(|(status, _)| *status != shot.status) {
            phases.push((shot.status, shot.answered - from));
        }
    }
    phases
}

fn shown(phases: &[(u16, Duration)]) -> String {
    let one = |(index, (status, since)): (usize, &(u16, Duration))| match index {
        0 => status.to_string(),
        _ => format!("{status} from {}", seconds(*since)),
    };
    phases.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

/// Tells whether the statuses are some of those that may come, in their order.
fn is_in_order(phases: &[(u16, Duration)], allowed: &[u16]) -> bool {
    let mut allowed = allowed.iter();
    !phases.is_empty() && phases.iter().all(|(status, _)| allowed.any(|allowed| allowed == status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_issuer_stops_what_needs_it_and_nothing_else_and_makes_nobody_a_stranger() {
    let _alone = ALONE.lock().await;
    let outage = Duration::from_secs(number("SEKISHO_DRILL_OUTAGE_S").unwrap_or(12));
    let rate = u32::try_from(number("SEKISHO_DRILL_RATE").unwrap_or(50)).expect("a rate");
    // Well within the outage, so that each is seen to end.
    let (staleness_s, cache_s) = (outage.as_secs() / 2, outage.as_secs() / 4);
    let feed = Feed::Polling { interval_s: 1, timeout_s: 2 };
    let mut issuer = Issuer::start("outage", &feed, cache_s).await;
    let gateway = Gateway::start("outage", &issuer, &feed, cache_s, staleness_s).await;

    let jwt = issuer.client_token("worker").await;
    let revoked = issuer.client_token("worker").await;
    let [opaque, new_opaque] = [issuer.client_token("warehouse").await, issuer.client_token("warehouse").await];
    let stranger = Stranger::with_url(&*issuer.url).token().audience("orders-api").scope("orders:read").sign();
    issuer.revoke("worker", &revoked).await;
    let orders = |name, base: &str, token: Option<&str>| Target::new(name, format!("{base}/orders/7"), token);
    let stock = |name, token: &str| Target::new(name, format!("{}/stock/7", gateway.plain_url), Some(token));
    let targets = [
        orders(JWT, &gateway.plain_url, Some(&jwt)),
        orders(JWT_FED, &gateway.url, Some(&jwt)),
        orders(REVOKED, &gateway.url, Some(&revoked)),
        stock(OPAQUE, &opaque),
        orders(ALTERED, &gateway.plain_url, Some(&altered(&jwt, 2))),
        orders(NOTHING, &gateway.plain_url, None),
    ];
    let load = Load::start(&targets, rate);
    let begun = Instant::now();
    while !EXPECTED.iter().all(|expected| expected.before.iter().all(|status| load.is_settled(expected.name, *status)))
    {
        assert!(begun.elapsed() < SOON, "not ready: {:?}", load.shots().last());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ready = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let killed = Instant::now();
    issuer.kill();
    let dead = Instant::now();
    let late = Gateway::start("outage-late", &issuer, &feed, cache_s, staleness_s).await;
    let targets = [
        stock(NEW_OPAQUE, &new_opaque),
        orders(UNKNOWN_KEY, &gateway.plain_url, Some(&stranger)),
        orders(LATE, &late.plain_url, Some(&jwt)),
    ];
    let meanwhile = Load::start(&targets, rate.div_ceil(2));
    tokio::time::sleep(outage.saturating_sub(killed.elapsed())).await;
    let end = Instant::now();
    issuer.start_again().await;
    let back = Instant::now();
    let of = |name: &str| if [NEW_OPAQUE, UNKNOWN_KEY, LATE].contains(&name) { &meanwhile } else { &load };
    while !EXPECTED.iter().all(|expected| of(expected.name).is_settled(expected.name, expected.at_last)) {
        if back.elapsed() > SOON {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (took, shots) = (back.elapsed(), [load.end().await, meanwhile.end().await].concat());

    println!(
        "\n{} requests; the issuer dead for {}, back {} after its start",
        shots.len(),
        seconds(end - dead),
        seconds(back - end)
    );
    println!(
        "answers of introspection kept for {cache_s} s, revocation stale after {staleness_s} s; all well after {}\n",
        seconds(took)
    );
    println!("| | while the issuer is dead | after its return |\n|---|---|---|");
    for Expected { name, .. } in &EXPECTED {
        let during = phases(&shots, name, dead, end);
        let after = phases(&shots, name, back, back + took + SOON);
        println!("| {name} | {} | {} |", shown(&during), shown(&after));
    }
    for Expected { name, before, during, at_last } in &EXPECTED {
        if !before.is_empty() {
            let seen = phases(&shots, name, ready, killed);
            assert!(is_in_order(&seen, before), "{name}, before: {seen:?}");
        }
        let seen = phases(&shots, name, dead, end);
        assert!(is_in_order(&seen, during), "{name}, during the outage: {seen:?}");
        assert_eq!(seen.last().map(|(status, _)| status), during.last(), "{name}, during the outage: {seen:?}");
        let own: Vec<_> = shots.iter().filter(|shot| shot.target == *name).collect();
        let last = own.last().expect("requests");
        assert_eq!(last.status, *at_last, "{name} after {took:?}: {last:?}");
        // What is not refused for good at last must never have been, not even while the issuer was coming back.
        let refused = own.iter().find(|shot| *at_last == 200 && shot.sent >= ready && shot.status == 401);
        assert!(refused.is_none(), "{name}: {refused:?}");
        let malformed = own.iter().find(|shot| shot.sent >= ready && !shot.is_well_formed());
        assert!(malformed.is_none(), "{name}: {malformed:?}");
    }
}
