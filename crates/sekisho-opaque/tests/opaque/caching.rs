//! What is kept, for how long, and how often the provider is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sekisho_core::{Failure, FailureKind, Principal, Reject, RevocationCheck, UnixSeconds};
use sekisho_opaque::Introspection;

use crate::server::{Reply, Server};
use crate::support::{
    NOW, Said, TOKEN, active, active_with, ask, ask_now, at, cached, inactive, introspect, uncached, yes,
};

#[tokio::test]
async fn by_default_each_request_asks() {
    let server = Server::start(active()).await;
    let introspection = introspect(&server).build().unwrap();
    for _ in 0..3 {
        assert_eq!(ask_now(&introspection, TOKEN, NOW), None);
        assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    }
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn an_answer_in_memory_is_given_at_once_until_its_time_is_over() {
    let server = Server::start(active()).await;
    let introspection = cached(&server);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    assert_eq!(ask_now(&introspection, TOKEN, at(29)), Some(yes()));
    assert_eq!(ask_now(&introspection, &format!("{TOKEN}x"), NOW), None);
    assert_eq!(ask_now(&introspection, &TOKEN.to_lowercase(), NOW), None);
    assert_eq!(server.count(), 1);
    assert_eq!(ask_now(&introspection, TOKEN, at(30)), None);
    server.set(inactive());
    assert_eq!(ask(&introspection, TOKEN, at(30)).await, Said::No(Reject::Inactive));
    assert_eq!(ask_now(&introspection, TOKEN, at(30)), Some(Said::No(Reject::Inactive)));
}

#[tokio::test]
async fn never_outlives_the_expiry() {
    let server = Server::start(active_with("exp", at(10).as_secs())).await;
    let introspection = cached(&server);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    assert_eq!(ask_now(&introspection, TOKEN, at(9)), Some(yes()));
    assert_eq!(ask_now(&introspection, TOKEN, at(10)), None);
    // Within the leeway it is still taken, from the provider and not from memory.
    assert_eq!(ask(&introspection, TOKEN, at(20)).await, yes());
    assert_eq!(ask_now(&introspection, TOKEN, at(20)), None);
    assert_eq!(ask(&introspection, TOKEN, at(70)).await, Said::No(Reject::Expired { by_secs: 0 }));
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn the_providers_word_on_keeping_counts() {
    for (value, lives) in [
        ("no-store", None),
        ("no-cache", None),
        ("max-age=0", None),
        ("private, max-age=10", Some(9)),
        ("max-age=3600", Some(29)),
    ] {
        let server = Server::start(active().with_header("cache-control", value)).await;
        let introspection = cached(&server);
        assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
        match lives {
            None => assert_eq!(ask_now(&introspection, TOKEN, NOW), None, "{value}"),
            Some(last) => {
                assert_eq!(ask_now(&introspection, TOKEN, at(last)), Some(yes()), "{value}");
                assert_eq!(ask_now(&introspection, TOKEN, at(last + 1)), None, "{value}");
            }
        }
    }
    let server = Server::start(active().with_header("cache-control", "no-store")).await;
    let stubborn = introspect(&server).cache_for(Duration::from_secs(30)).dangerous_cache_despite_headers();
    let stubborn = stubborn.build().unwrap();
    assert_eq!(ask(&stubborn, TOKEN, NOW).await, yes());
    assert_eq!(ask_now(&stubborn, TOKEN, at(29)), Some(yes()));
}

#[tokio::test]
async fn refusals_are_kept_shortly_and_apart() {
    let server = Server::answering(|request| if request.body.contains(TOKEN) { active() } else { inactive() }).await;
    let introspection = introspect(&server)
        .cache_for(Duration::from_secs(30))
        .with_cache_limits(sekisho_opaque::CacheLimits::new(4, 4096))
        .build()
        .unwrap();
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    for number in 0..200 {
        assert_eq!(ask(&introspection, &format!("random {number}"), NOW).await, Said::No(Reject::Inactive));
    }
    assert_eq!(introspection.cached_tokens(), (1, 200));
    assert_eq!(ask_now(&introspection, TOKEN, NOW), Some(yes()), "no number of random tokens pushes it out");
    assert_eq!(ask_now(&introspection, "random 7", at(4)), Some(Said::No(Reject::Inactive)));
    assert_eq!(ask_now(&introspection, "random 7", at(5)), None);
    assert_eq!(server.count(), 201);
    let server = Server::start(inactive().with_header("cache-control", "no-store")).await;
    let introspection = cached(&server);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, Said::No(Reject::Inactive));
    assert_eq!(ask_now(&introspection, TOKEN, NOW), None);
}

/// Asks so often, all polled once before any can be answered.
async fn all_at_once(introspection: &Introspection, requests: usize) -> Vec<Said> {
    join_all((0..requests).map(|_| ask(introspection, TOKEN, NOW))).await
}

#[tokio::test]
async fn requests_with_one_token_share_one_question_cached_or_not() {
    for keeps in [true, false] {
        let server = Server::start(active().after(300)).await;
        let introspection = if keeps { cached(&server) } else { uncached(&server) };
        for said in all_at_once(&introspection, 200).await {
            assert_eq!(said, yes());
        }
        assert_eq!(server.count(), 1, "{keeps}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_share_one_question_too() {
    let server = Server::start(active().after(100)).await;
    let introspection = cached(&server);
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let introspection = introspection.clone();
            tokio::spawn(async move { ask(&introspection, TOKEN, NOW).await })
        })
        .collect();
    for request in asking {
        assert_eq!(request.await.unwrap(), yes());
    }
    assert_eq!(server.count(), 1, "whoever was late found the answer in memory");
}

#[tokio::test]
async fn a_failure_is_shared_by_who_waits_and_kept_for_nobody() {
    let server = Server::start(Reply::status(500).after(300)).await;
    let introspection = cached(&server);
    for said in all_at_once(&introspection, 100).await {
        assert_eq!(said, Said::Failed(FailureKind::Unavailable));
    }
    assert_eq!(server.count(), 1);
    server.set(active());
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn whoever_goes_away_strands_nobody() {
    let server = Server::start(active().after(1000)).await;
    let introspection = cached(&server);
    let leader = tokio::spawn({
        let introspection = introspection.clone();
        async move { ask(&introspection, TOKEN, NOW).await }
    });
    while server.count() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut followers = Box::pin(all_at_once(&introspection, 20));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut followers).await.is_err(), "they wait");
    leader.abort();
    assert!(leader.await.is_err());
    for said in followers.await {
        assert_eq!(said, yes());
    }
    assert_eq!(server.count(), 1, "the question went on");
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_broken_off() {
    let server = Server::start(Reply::Hang).await;
    let introspection = cached(&server);
    let asking = tokio::time::timeout(Duration::from_millis(100), ask(&introspection, TOKEN, NOW));
    assert!(asking.await.is_err());
    for _ in 0..100 {
        if server.abandoned() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.abandoned(), 1);
    server.set(active());
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
}

#[tokio::test]
async fn no_more_questions_at_once_than_allowed_and_the_rest_is_told_at_once() {
    let server = Server::start(active().after(300)).await;
    let introspection = introspect(&server).with_concurrency(3).build().unwrap();
    let tokens: Vec<_> = (0..20).map(|number| format!("token number {number}")).collect();
    let mut passed = 0;
    for said in join_all(tokens.iter().map(|token| ask(&introspection, token, NOW))).await {
        match said {
            Said::Yes(_) => passed += 1,
            said => assert_eq!(said, Said::Failed(FailureKind::Unavailable)),
        }
    }
    assert_eq!((passed, server.most_at_once(), server.count()), (3, 3, 3));
    // Those who were turned away did not wait: with the places taken, the answer comes at the first poll.
    let mut holding = Box::pin(join_all(tokens.iter().take(3).map(|token| ask(&introspection, token, at(1)))));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut holding).await.is_err(), "they wait");
    let turned_away = ask(&introspection, TOKEN, at(1)).now_or_never();
    assert_eq!(turned_away, Some(Said::Failed(FailureKind::Unavailable)));
    assert!(holding.await.into_iter().all(|said| said == yes()));
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes(), "there is room again");
}

#[tokio::test]
async fn a_stale_answer_is_used_only_when_wanted_within_bounds_and_while_the_provider_is_away() {
    let server = Server::start(active_with("exp", at(100).as_secs())).await;
    let strict = cached(&server);
    let lenient = introspect(&server).cache_for(Duration::from_secs(30)).with_stale_on_failure(Duration::from_secs(50));
    let lenient = lenient.build().unwrap();
    let long = introspect(&server).cache_for(Duration::from_secs(30)).with_stale_on_failure(Duration::from_secs(3600));
    let long = long.build().unwrap();
    for introspection in [&strict, &lenient, &long] {
        assert_eq!(ask(introspection, TOKEN, NOW).await, yes());
    }
    server.set(Reply::status(503));
    let down = Said::Failed(FailureKind::Unavailable);
    assert_eq!(ask(&strict, TOKEN, at(31)).await, down);
    assert_eq!(ask(&lenient, TOKEN, at(79)).await, yes());
    assert_eq!(ask(&lenient, TOKEN, at(80)).await, down);
    assert_eq!(ask(&long, TOKEN, at(99)).await, yes());
    assert_eq!(ask(&long, TOKEN, at(100)).await, down, "never past `exp`");
    assert_eq!(ask(&long, "another token", at(50)).await, down);
    assert_eq!(ask_now(&lenient, TOKEN, at(50)), None, "the provider is asked first");
    // A provider that is there and refuses us is no provider that is away.
    server.set(Reply::status(401));
    let server_two = Server::start(active()).await;
    let other =
        introspect(&server_two).cache_for(Duration::from_secs(30)).with_stale_on_failure(Duration::from_secs(50));
    let other = other.build().unwrap();
    assert_eq!(ask(&other, TOKEN, NOW).await, yes());
    server_two.set(Reply::status(401));
    assert_eq!(ask(&other, TOKEN, at(31)).await, Said::Failed(FailureKind::BadGateway));
    server_two.set(inactive());
    assert_eq!(ask(&other, TOKEN, at(31)).await, Said::No(Reject::Inactive));
    server_two.set(Reply::status(503));
    assert_eq!(ask(&other, TOKEN, at(40)).await, Said::Failed(FailureKind::Unavailable), "what was refused stays so");
}

#[tokio::test]
async fn a_stale_answer_is_not_used_because_there_are_too_many_questions() {
    let server = Server::start(active()).await;
    let lenient = introspect(&server).cache_for(Duration::from_secs(30)).with_stale_on_failure(Duration::from_secs(50));
    let lenient = lenient.with_concurrency(1).build().unwrap();
    assert_eq!(ask(&lenient, TOKEN, NOW).await, yes());
    let down = Said::Failed(FailureKind::Unavailable);
    for status in [408, 425, 429] {
        server.set(Reply::status(status));
        assert_eq!(ask(&lenient, TOKEN, at(31)).await, down, "{status}");
    }
    for status in [500, 502, 504, 599] {
        server.set(Reply::status(status));
        assert_eq!(ask(&lenient, TOKEN, at(31)).await, yes(), "{status}");
    }
    server.set(inactive().after(300));
    let mut holding = Box::pin(ask(&lenient, "another token", at(31)));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut holding).await.is_err(), "it waits");
    assert_eq!(ask(&lenient, TOKEN, at(31)).await, down, "whoever floods us prolongs nothing");
    assert_eq!(holding.await, Said::No(Reject::Inactive));
}

#[tokio::test]
async fn a_purged_token_is_asked_about_again() {
    let server = Server::start(active()).await;
    let introspection = cached(&server);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    introspection.purge("another token");
    assert_eq!(ask_now(&introspection, TOKEN, NOW), Some(yes()));
    introspection.purge(TOKEN);
    assert_eq!(ask_now(&introspection, TOKEN, NOW), None);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    introspection.purge_where(|candidate| candidate.id().subject() == "u2");
    assert_eq!(ask_now(&introspection, TOKEN, NOW), Some(yes()));
    introspection.purge_where(|candidate| candidate.id().subject() == "u1");
    assert_eq!(ask_now(&introspection, TOKEN, NOW), None);
}

#[tokio::test]
async fn an_answer_that_was_under_way_when_its_token_was_purged_is_not_kept() {
    for all in [false, true] {
        let server = Server::start(active().after(600)).await;
        let introspection = cached(&server);
        let asking = tokio::spawn({
            let introspection = introspection.clone();
            async move { ask(&introspection, TOKEN, NOW).await }
        });
        while server.count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if all {
            introspection.purge_where(|_| true);
        } else {
            introspection.purge(TOKEN);
        }
        assert_eq!(asking.await.unwrap(), yes());
        assert_eq!(ask_now(&introspection, TOKEN, NOW), None, "{all}");
    }
}

#[tokio::test]
async fn a_refusal_ends_what_was_known_also_when_its_question_was_disowned() {
    let server = Server::start(active()).await;
    let lenient = introspect(&server).cache_for(Duration::from_secs(30)).with_stale_on_failure(Duration::from_secs(50));
    let lenient = lenient.build().unwrap();
    assert_eq!(ask(&lenient, TOKEN, NOW).await, yes());
    server.set(inactive().after(600));
    let asking = tokio::spawn({
        let lenient = lenient.clone();
        async move { ask(&lenient, TOKEN, at(31)).await }
    });
    while server.count() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lenient.purge_where(|candidate| candidate.id().subject() == "somebody else");
    assert_eq!(asking.await.unwrap(), Said::No(Reject::Inactive));
    server.set(Reply::status(503));
    assert_eq!(ask(&lenient, TOKEN, at(40)).await, Said::Failed(FailureKind::Unavailable));
}

#[derive(Default)]
struct Revoked {
    revoked: AtomicBool,
    broken: AtomicBool,
}

impl RevocationCheck for Revoked {
    fn is_revoked(&self, principal: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
        assert_eq!(principal.subject(), "u1");
        if self.broken.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("the revocation feed"));
        }
        Ok(self.revoked.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn revocation_is_asked_after_each_answer_from_memory_too() {
    let server = Server::start(active()).await;
    let revocation = Arc::new(Revoked::default());
    let introspection = introspect(&server)
        .cache_for(Duration::from_secs(30))
        .with_revocation(Arc::clone(&revocation) as _)
        .build()
        .unwrap();
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    revocation.revoked.store(true, Ordering::SeqCst);
    assert_eq!(ask_now(&introspection, TOKEN, NOW), Some(Said::No(Reject::Revoked)));
    assert_eq!(ask(&introspection, "fresh", NOW).await, Said::No(Reject::Revoked));
    revocation.broken.store(true, Ordering::SeqCst);
    assert_eq!(ask_now(&introspection, TOKEN, NOW), Some(Said::Failed(FailureKind::Unavailable)));
}
