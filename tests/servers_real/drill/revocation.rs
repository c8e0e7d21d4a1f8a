//! How long after it was revoked is a credential still accepted, by four gateways under load?

use std::time::{Duration, Instant};

use super::browser::Login;
use super::load::{Load, Shot, Target};
use super::parts::{Feed, Gateway, Issuer};
use super::{ALONE, number, seconds};
use crate::stores::store;

const GATEWAYS: usize = 4;

/// What is revoked, by its name in the table, and how late that may be noticed.
struct Victim {
    name: &'static str,
    promise: Duration,
}

struct Revoked {
    victim: Victim,
    /// When the issuer's answer was there.
    at: Instant,
}

/// What the documentation of a feed says, with what it was told here.
///
/// A question on its way when something is revoked may be answered without it; then comes the pause, then the next question.
fn promise(feed: &Feed) -> Duration {
    match feed {
        Feed::Polling { interval_s, timeout_s } => {
            Duration::from_secs(*interval_s) * 11 / 10 + 2 * Duration::from_secs(*timeout_s)
        }
        // Told at once; that a message was lost is noticed within heartbeat and command timeout.
        Feed::Redis { .. } => Duration::from_secs(3),
    }
}

/// Waits until every gateway refuses the victim, and a little longer; at most as long as was promised.
async fn until_refused(loads: &[Load], revoked: &Revoked) {
    let Revoked { victim, at } = revoked;
    while at.elapsed() <= victim.promise {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if loads.iter().all(|load| load.is_settled(victim.name, 401)) {
            break;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Returns how long after the revocation the last acceptance was told, zero if none was.
fn last_acceptance(shots: &[Shot], revoked: &Revoked) -> Duration {
    let own = shots.iter().filter(|shot| shot.target == revoked.victim.name && shot.is_accepted());
    own.map(|shot| shot.answered.saturating_duration_since(revoked.at)).max().unwrap_or_default()
}

fn assert_promise(gateway: usize, shots: &[Shot], revoked: &Revoked) {
    let Revoked { victim, at } = revoked;
    let own: Vec<_> = shots.iter().filter(|shot| shot.target == victim.name).collect();
    assert!(own.iter().any(|shot| shot.answered < *at && shot.is_accepted()), "{} was never accepted", victim.name);
    let late: Vec<_> = own.iter().filter(|shot| shot.sent > *at + victim.promise).collect();
    assert!(
        late.iter().all(|shot| shot.status == 401),
        "gateway {gateway}, {}, after the promise: {late:?}",
        victim.name
    );
    let last = own.last().expect("requests");
    assert_eq!(last.status, 401, "gateway {gateway} never refused {}", victim.name);
    // Once noticed, it is never forgotten.
    let first = own.iter().position(|shot| shot.status == 401).expect("a refusal");
    let noticed = own[first].answered;
    let again = own.iter().find(|shot| shot.sent > noticed && shot.is_accepted());
    assert!(again.is_none(), "gateway {gateway} accepted {} again: {again:?}", victim.name);
}

async fn drill(test: &str, feed: &Feed) {
    let _alone = ALONE.lock().await;
    let cache_s = number("SEKISHO_DRILL_CACHE_S").unwrap_or(2);
    let rate = u32::try_from(number("SEKISHO_DRILL_RATE").unwrap_or(50)).expect("a rate");
    let issuer = Issuer::start(test, feed, cache_s).await;
    let mut gateways = Vec::new();
    for number in 1..=GATEWAYS {
        gateways.push(Gateway::start(&format!("{test}-{number}"), &issuer, feed, cache_s, 60).await);
    }
    let [token, opaque] = [issuer.client_token("worker").await, issuer.client_token("warehouse").await];
    let [other_token, other_opaque] = [issuer.client_token("worker").await, issuer.client_token("warehouse").await];
    let alice = Login::begin(&issuer, "alice").await;
    let alice_elsewhere = Login::begin(&issuer, "alice").await;
    let (bob, carol) = (Login::begin(&issuer, "bob").await, Login::begin(&issuer, "carol").await);

    let loads: Vec<_> = gateways
        .iter()
        .map(|gateway| {
            let jwt = |name, token: &str| Target::new(name, format!("{}/orders/7", gateway.url), Some(token));
            let phantom = |name, token: &str| Target::new(name, format!("{}/stock/7", gateway.plain_url), Some(token));
            let targets = [
                jwt("token", &token),
                jwt("another token", &other_token),
                jwt("session", &alice.access),
                jwt("another session of the same user", &alice_elsewhere.access),
                jwt("grant", &bob.access),
                jwt("user", &carol.access),
                phantom("opaque token", &opaque),
                phantom("another opaque token", &other_opaque),
            ];
            Load::start(&targets, rate)
        })
        .collect();
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut all = Vec::new();
    let promise = promise(feed);
    // Of the cache: its lifetime, in whole seconds, and an answer that was on its way.
    let by_cache = Duration::from_secs(cache_s + 1) + Duration::from_secs(5);
    for (name, promise) in
        [("token", promise), ("session", promise), ("grant", promise), ("user", promise), ("opaque token", by_cache)]
    {
        match name {
            "token" => issuer.revoke("worker", &token).await,
            "session" => alice.end_at(&issuer).await,
            "grant" => issuer.revoke_of_shop(&bob.refresh).await,
            "user" => issuer.bar("carol").await,
            _ => issuer.revoke("warehouse", &opaque).await,
        }
        let revoked = Revoked { victim: Victim { name, promise }, at: Instant::now() };
        until_refused(&loads, &revoked).await;
        all.push(revoked);
    }
    // Everything until now, and nothing after it.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let later = Login::begin(&issuer, "carol").await;
    for gateway in &gateways {
        let later = Target::new("a later token of the user", format!("{}/orders/7", gateway.url), Some(&later.access));
        assert!(later.ask().await.is_accepted());
    }

    let took = begun.elapsed();
    let mut shots = Vec::new();
    for load in loads {
        shots.push(load.end().await);
    }
    let count: usize = shots.iter().map(Vec::len).sum();
    let each = count as f64 / took.as_secs_f64() / GATEWAYS as f64;
    println!("\n{count} requests to {GATEWAYS} gateways by {}, {each:.0}/s each\n", feed.name());
    println!("| revoked | gateway 1 | gateway 2 | gateway 3 | gateway 4 | promised |\n|---|--:|--:|--:|--:|--:|");
    for revoked in &all {
        let shown = |shots| format!("{:.2} s", last_acceptance(shots, revoked).as_secs_f64());
        let last: Vec<_> = shots.iter().map(|shots: &Vec<Shot>| shown(shots)).collect();
        println!("| {} | {} | {} |", revoked.victim.name, last.join(" | "), seconds(revoked.victim.promise));
    }
    for (index, shots) in shots.iter().enumerate() {
        for revoked in &all {
            assert_promise(index + 1, shots, revoked);
        }
        for shot in shots {
            let is_victim = all.iter().any(|revoked| revoked.victim.name == shot.target);
            assert!(shot.is_accepted() || is_victim, "gateway {}: {shot:?}", index + 1);
            assert!(shot.is_well_formed() && shot.status < 500, "gateway {}: {shot:?}", index + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_poll_refuse_what_was_revoked_within_what_is_promised() {
    let interval_s = number("SEKISHO_DRILL_INTERVAL_S").unwrap_or(1);
    drill("revocation-polling", &Feed::Polling { interval_s, timeout_s: 5 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_redis_tells_refuse_what_was_revoked_within_what_is_promised() {
    let Some((url, _turn)) = store("SEKISHO_REDIS_URL", "revocation drill with Redis").await else { return };
    let prefix = format!("drill-{}", std::process::id());
    drill("revocation-redis", &Feed::Redis { url, prefix }).await;
}
