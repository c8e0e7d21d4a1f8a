use std::time::Duration;

use sekisho_core::{FailureKind, RevocationCheck, UnixSeconds};
use sekisho_revocation::{FeedBatch, StalePolicy};

use crate::support::{Event, NOW, Script, alice, at, bearer, clock, list, token, until};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_list_that_was_never_fed_fails_closed() {
    let list = list(10);
    let check = list.check();
    let failure = check.is_revoked(&bearer("t"), NOW).unwrap_err();
    assert_eq!((failure.kind(), failure.retry_after()), (FailureKind::Unavailable, Some(Duration::from_secs(5))));
    assert!(check.readiness(NOW).is_err());
    assert_eq!(list.health(NOW).age, None);
    list.withdraw(&token("t"), NOW).unwrap();
    assert!(check.is_revoked(&bearer("t"), NOW).unwrap(), "what is known is refused, not failed");
}

#[test]
fn clocks_at_the_beginning_of_time_make_nothing_fresh() {
    assert!(list(10).check().is_revoked(&bearer("t"), UnixSeconds::new(0)).is_err());
}

/// Follows a feed that shows one withdrawal, is current at `NOW`, and then falls silent.
async fn fed_once() -> (sekisho_revocation::RevocationList, sekisho_revocation::Following) {
    let list = list(10);
    let feed = Script::new([[Event::Batch(FeedBatch::current(vec![token("t")], NOW)), Event::Silence]]);
    let following = list.follow(feed).with_clock(clock().1).start().unwrap();
    until("fed", || list.health(NOW).age.is_some()).await;
    (list, following)
}

#[tokio::test(start_paused = true)]
async fn a_stale_list_fails_closed_after_its_bound() {
    let (list, _following) = fed_once().await;
    let (check, patient) = (list.check(), list.check().with_policy(StalePolicy::fail_closed_after(2 * MINUTE)));
    for (offset, expected) in [(0, Some(false)), (60, Some(false)), (61, None), (86_400, None)] {
        assert_eq!(check.is_revoked(&bearer("innocent"), at(offset)).ok(), expected, "{offset}");
    }
    assert_eq!(list.health(at(61)).age, Some(Duration::from_secs(61)));
    assert!(check.readiness(at(60)).is_ok() && check.readiness(at(61)).is_err());
    assert_eq!(patient.is_revoked(&bearer("innocent"), at(120)).ok(), Some(false));
    assert!(patient.is_revoked(&bearer("innocent"), at(121)).is_err());
    assert!(check.is_revoked(&bearer("t"), at(500)).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_mark_from_the_future_is_not_fresh() {
    let (list, _following) = fed_once().await;
    // The clock was far ahead when the mark was set, and has been corrected since.
    assert!(list.check().is_revoked(&bearer("innocent"), at(-61)).is_err());
    assert!(!list.check().is_revoked(&bearer("innocent"), at(-60)).unwrap());
}

#[tokio::test(start_paused = true)]
async fn passing_when_stale_is_the_choice_of_one_check_and_is_counted() {
    let (list, _following) = fed_once().await;
    let (closed, open) = (list.check(), list.check().with_policy(StalePolicy::dangerous_pass_after(MINUTE)));
    assert!(!open.is_revoked(&bearer("innocent"), NOW).unwrap());
    assert_eq!(list.health(NOW).passed_stale, 0);
    for _ in 0..3 {
        assert!(!open.is_revoked(&bearer("innocent"), at(61)).unwrap());
    }
    assert!(open.is_revoked(&bearer("t"), at(61)).unwrap(), "what is known is refused");
    assert!(closed.is_revoked(&bearer("innocent"), at(61)).is_err());
    assert_eq!(list.health(at(61)).passed_stale, 3);
    assert!(open.readiness(at(61)).is_err(), "a probe hears the truth");
}

#[test]
fn passing_when_stale_passes_also_what_never_was_fed_and_what_is_full() {
    let list = list(1);
    let open = list.check().with_policy(StalePolicy::dangerous_pass_after(MINUTE));
    assert!(!open.is_revoked(&bearer("innocent"), NOW).unwrap());
    list.withdraw(&token("a"), NOW).unwrap();
    list.withdraw(&token("b"), NOW).unwrap_err();
    assert!(!open.is_revoked(&bearer("b"), NOW).unwrap());
    assert!(open.is_revoked(&bearer("a"), NOW).unwrap());
    assert_eq!(list.health(NOW).passed_stale, 2);
}

#[tokio::test(start_paused = true)]
async fn a_local_check_of_a_followed_list_knows_staleness_too() {
    let fresh = list(10);
    let local = fresh.local();
    assert!(!local.is_revoked(&alice(&[]), NOW).unwrap());
    let (list, following) = fed_once().await;
    let local = list.local();
    assert!(!local.is_revoked(&alice(&[]), NOW).unwrap());
    drop(following);
    assert!(local.is_revoked(&alice(&[]), at(61)).is_err());
}
