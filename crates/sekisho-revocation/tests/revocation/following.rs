use std::time::Duration;

use sekisho_core::{Clock, Failure, FailureKind, RevocationCheck};
use sekisho_revocation::{Cursor, FeedBatch, MemoryFeed, Withdrawal};
use tokio::time::{Instant, timeout};

use crate::support::{END, Event, ISSUER, NOW, Script, at, bearer, clock, list, token, until};

const MOMENT: Duration = Duration::from_millis(300);

fn current(ids: &[&str]) -> Event {
    Event::Batch(FeedBatch::current(ids.iter().map(|id| token(id)).collect(), NOW))
}

fn partial(ids: &[&str]) -> Event {
    Event::Batch(FeedBatch::partial(ids.iter().map(|id| token(id)).collect()))
}

fn marked(ids: &[&str], cursor: &str) -> Event {
    let batch = FeedBatch::current(ids.iter().map(|id| token(id)).collect(), NOW);
    Event::Batch(batch.with_cursor(Cursor::new(cursor)))
}

fn lost(kind: FailureKind) -> Event {
    Event::Lose(Failure::new(kind, "lost"))
}

#[tokio::test(start_paused = true)]
async fn half_a_snapshot_makes_no_list_fresh() {
    let (list, feed) = (list(10), Script::new([[partial(&["a"]), partial(&["b"]), Event::Silence]]));
    let mut following = list.follow(feed).with_clock(clock().1).start().unwrap();
    until("both halves", || list.len() == 2).await;
    let check = list.check();
    assert!(check.is_revoked(&bearer("a"), NOW).unwrap());
    assert!(check.is_revoked(&bearer("innocent"), NOW).is_err());
    assert!(timeout(MOMENT, following.synchronized()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_and_the_next_one_starts_anew() {
    let feed = Script::new([vec![partial(&["a"]), Event::Silence], vec![current(&["b"]), Event::Silence]]);
    let (list, start) = (list(10), Instant::now());
    let mut following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    following.synchronized().await;
    let took = start.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(22)).contains(&took), "{took:?}");
    assert_eq!(feed.asked_with(), [None, None]);
    for id in ["a", "b"] {
        assert!(list.check().is_revoked(&bearer(id), NOW).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_away_is_asked_with_growing_pauses_and_found_again_in_seconds() {
    let (list, feed) = (list(10), Script::default());
    let mut following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = feed.asked_with().len();
    assert!((60..140).contains(&attempts), "{attempts} attempts in ten minutes");
    feed.add([current(&["t"])]);
    timeout(Duration::from_secs(11), following.synchronized()).await.unwrap();
    assert!(list.check().is_revoked(&bearer("t"), NOW).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_takes_nothing_back_and_goes_on_from_its_cursor() {
    let feed = Script::new([
        vec![marked(&["a"], "1"), lost(FailureKind::Unavailable)],
        vec![marked(&["b"], "2"), lost(FailureKind::Unavailable)],
        vec![marked(&["c"], "3"), lost(FailureKind::BadGateway)],
        vec![current(&["d"]), lost(FailureKind::Unavailable)],
        vec![current(&[]), Event::Silence],
    ]);
    let list = list(10);
    let _following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    until("five connections", || feed.asked_with().len() == 5).await;
    // Nonsense drops the cursor, and so does a batch without one.
    assert_eq!(feed.asked_with(), [None, Some("1".to_owned()), Some("2".to_owned()), None, None]);
    until("all four", || list.len() == 4).await;
    for id in ["a", "b", "c", "d"] {
        assert!(list.check().is_revoked(&bearer(id), NOW).unwrap(), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_cannot_make_the_list_fresh_for_the_future() {
    let (clock, shared) = clock();
    let list = list(10);
    let far = FeedBatch::current(Vec::new(), at(1_000_000));
    let _following =
        list.follow(Script::new([[Event::Batch(far), Event::Silence]])).with_clock(shared).start().unwrap();
    until("fed", || list.health(NOW).age.is_some()).await;
    clock.advance(Duration::from_secs(61));
    assert!(list.check().is_revoked(&bearer("innocent"), clock.now()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_without_room_fails_closed_until_one_fits() {
    let feed = Script::new([vec![current(&["a", "b", "c"]), Event::Silence]]);
    let list = list(2);
    let _following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    until("full", || !list.health(NOW).is_complete).await;
    let check = list.check();
    assert!(check.is_revoked(&bearer("a"), NOW).unwrap());
    assert!(check.is_revoked(&bearer("innocent"), NOW).is_err());
    // The issuer has fewer now; what was put in stays.
    feed.add([current(&["a", "b"]), Event::Silence]);
    until("whole again", || list.health(NOW).is_complete).await;
    assert!(!check.is_revoked(&bearer("innocent"), NOW).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_whole_snapshot_does_not_excuse_what_this_process_lost_itself() {
    let (list, feed) = (list(1), Script::new([[current(&["a"]), Event::Silence]]));
    list.withdraw(&token("a"), NOW).unwrap();
    list.withdraw(&token("own"), NOW).unwrap_err();
    let mut following = list.follow(feed).with_clock(clock().1).start().unwrap();
    following.synchronized().await;
    assert!(list.check().is_revoked(&bearer("own"), NOW).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_resumed_connection_does_not_excuse_an_earlier_loss() {
    let feed = Script::new([
        vec![marked(&["a"], "1"), marked(&["b", "c"], "2"), Event::Silence],
        vec![partial(&["a"]), Event::Silence],
    ]);
    let list = list(2);
    let _following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    until("full and connected anew", || feed.asked_with().len() == 2).await;
    assert_eq!(feed.asked_with(), [None, None], "after a loss the whole is asked for");
    assert!(list.check().is_revoked(&bearer("innocent"), NOW).is_err());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_ends_it_and_frees_the_list() {
    let (feed, list) = (MemoryFeed::new(), list(10));
    let mut following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    following.synchronized().await;
    assert!(list.follow(feed.clone()).start().is_err(), "one feed for one list");
    assert!(list.health(NOW).is_followed);
    drop(following);
    assert!(!list.health(NOW).is_followed);
    feed.push(token("t"), NOW).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(list.is_empty());
    let mut again = list.follow(feed).with_clock(clock().1).start().unwrap();
    again.synchronized().await;
    until("followed again", || list.len() == 1).await;
}

#[test]
fn needs_a_runtime_and_sane_pauses() {
    let list = list(10);
    assert!(list.follow(MemoryFeed::new()).start().is_err());
    let zero = list.follow(MemoryFeed::new()).with_pauses(Duration::ZERO, MOMENT);
    assert!(zero.start().is_err());
    let crossed = list.follow(MemoryFeed::new()).with_pauses(2 * MOMENT, MOMENT);
    assert!(crossed.start().is_err());
    assert!(!list.health(NOW).is_followed, "an attempt that failed claims nothing");
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_is_refused_in_every_list_that_follows() {
    let feed = MemoryFeed::new();
    feed.push(token("before"), NOW).unwrap();
    let lists = [list(10_000), list(10_000)];
    let mut handles: Vec<_> =
        lists.iter().map(|list| list.follow(feed.clone()).with_clock(clock().1).start().unwrap()).collect();
    for handle in &mut handles {
        handle.synchronized().await;
    }
    for number in 0..3_500 {
        feed.push(token(&format!("t-{number}")), NOW).unwrap();
    }
    for list in &lists {
        until("all of them", || list.len() == 3_501).await;
        assert!(list.check().is_revoked(&bearer("before"), NOW).unwrap());
        assert!(list.check().is_revoked(&bearer("t-3499"), NOW).unwrap());
        assert!(!list.check().is_revoked(&bearer("innocent"), NOW).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_feed_keeps_its_lists_fresh() {
    let (clock, shared) = clock();
    let list = list(10);
    let mut following = list.follow(MemoryFeed::new()).with_clock(shared).start().unwrap();
    following.synchronized().await;
    for _ in 0..30 {
        clock.advance(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!list.check().is_revoked(&bearer("innocent"), clock.now()).unwrap());
    }
}

#[test]
fn a_full_memory_feed_says_so_and_makes_room_from_what_is_over() {
    let feed = MemoryFeed::with_max_entries(1);
    feed.push(token("a"), NOW).unwrap();
    assert!(feed.push(token("b"), NOW).is_err());
    assert!(feed.push(token("b"), at(1_299)).is_err());
    feed.push(Withdrawal::token(ISSUER, "b", at(9_000)).unwrap(), at(1_300)).unwrap();
    assert_eq!(format!("{feed:?}"), "MemoryFeed(1 withdrawals)");
}

#[tokio::test(start_paused = true)]
async fn a_followed_list_is_swept_in_the_background() {
    let (clock, shared) = clock();
    let list = list(10_000);
    for number in 0..1_000 {
        list.withdraw(&token(&format!("t-{number}")), NOW).unwrap();
    }
    let _following = list.follow(MemoryFeed::new()).with_clock(shared).start().unwrap();
    clock.set(END.saturating_add(Duration::from_secs(300)));
    until("swept", || list.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_feed_in_memory_keeps_the_contract() {
    let feed = MemoryFeed::new();
    sekisho_testkit::revocation_feed_suite(&feed, async |withdrawal| feed.push(withdrawal, NOW).unwrap()).await;
}
