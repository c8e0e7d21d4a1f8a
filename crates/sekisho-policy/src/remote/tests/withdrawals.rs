use sekisho_core::SystemClock;
use sekisho_revocation::{MemoryFeed, RevocationFeed, RevocationList, Withdrawal};

use super::*;

#[tokio::test(start_paused = true)]
async fn whatever_a_feed_withdraws_is_forgotten() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    let feed = MemoryFeed::new();
    let purging = remote.purged_by(feed.clone());
    let mut connection = purging.connect(None).await.unwrap();
    let _snapshot = connection.next(&SystemClock).await.unwrap();
    let end = UnixSeconds::MAX;
    for withdrawal in [
        Withdrawal::token(ISSUER, "g-1.t-1", end),
        Withdrawal::session(ISSUER, "s-1", end),
        Withdrawal::grant(ISSUER, "g-1", end),
        Withdrawal::subject_up_to(ISSUER, "alice", NOW, end),
    ] {
        let withdrawal = withdrawal.unwrap();
        remote.decide(&read(&alice, "p")).await.unwrap();
        let other = Withdrawal::session("https://other.example", "s-1", end).unwrap();
        feed.push(other, NOW).unwrap();
        assert_eq!(connection.next(&SystemClock).await.unwrap().withdrawals().len(), 1);
        assert!(remote.decide_now(&read(&alice, "p")).is_some(), "{withdrawal:?}");
        feed.push(withdrawal.clone(), NOW).unwrap();
        assert_eq!(connection.next(&SystemClock).await.unwrap().withdrawals(), std::slice::from_ref(&withdrawal));
        assert!(remote.decide_now(&read(&alice, "p")).is_none(), "{withdrawal:?}");
    }
}

#[tokio::test]
async fn a_list_that_follows_takes_the_cache_along() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    let (feed, list) = (MemoryFeed::new(), RevocationList::new().unwrap());
    let mut following = list.follow(remote.purged_by(feed.clone())).start().unwrap();
    following.synchronized().await;
    remote.decide(&read(&alice, "p")).await.unwrap();
    assert!(remote.decide_now(&read(&alice, "p")).is_some());
    let begin = std::time::Instant::now();
    feed.push(Withdrawal::session(ISSUER, "s-1", UnixSeconds::MAX).unwrap(), NOW).unwrap();
    while remote.decide_now(&read(&alice, "p")).is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It was the withdrawal, and not the end of five seconds.
    assert!(begin.elapsed() < Duration::from_secs(4));
}
