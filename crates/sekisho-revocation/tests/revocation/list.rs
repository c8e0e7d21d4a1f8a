use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sekisho_core::{FailureKind, RevocationCheck, UnixSeconds};
use sekisho_revocation::{RevocationList, Withdrawal};
use serde_json::json;

use crate::support::{END, ISSUER, NOW, alice, at, bearer, caller, is_revoked, list, token};

#[test]
fn refuses_the_token_the_session_and_the_subject_that_are_withdrawn() {
    let list = list(10);
    list.withdraw(&token("t"), NOW).unwrap();
    list.withdraw(&Withdrawal::session(ISSUER, "s", END).unwrap(), NOW).unwrap();
    list.withdraw(&Withdrawal::subject(ISSUER, "mallory", NOW, END).unwrap(), NOW).unwrap();
    assert!(is_revoked(&list, &bearer("t"), NOW));
    assert!(is_revoked(&list, &alice(&[("jti", "other".into()), ("sid", "s".into())]), NOW));
    assert!(is_revoked(&list, &caller(ISSUER, "mallory", &[]), NOW));
    assert!(is_revoked(&list, &caller(ISSUER, "mallory", &[("jti", "t2".into()), ("sid", "s2".into())]), NOW));
}

#[test]
fn an_id_counts_for_its_kind_and_its_issuer_only() {
    let list = list(10);
    list.withdraw(&token("x"), NOW).unwrap();
    let elsewhere = caller("https://id.example/", "alice", &[("jti", "x".into())]);
    for other in [
        alice(&[]),
        bearer("X"),
        bearer("x "),
        bearer(""),
        alice(&[("sid", "x".into())]),
        alice(&[("sub", "x".into())]),
        alice(&[("jti", json!(["x"]))]),
        caller(ISSUER, "x", &[]),
        elsewhere,
        // Issuer and id must not flow into one another.
        caller("https://id.exampl", "alice", &[("jti", "ex".into())]),
    ] {
        assert!(!is_revoked(&list, &other, NOW), "{other:?}");
    }
    assert!(is_revoked(&list, &alice(&[("jti", "\u{78}".into())]), NOW));
}

#[test]
fn a_grant_is_refused_with_every_token_whose_id_begins_with_it_and_a_dot() {
    let list = list(10);
    list.withdraw(&Withdrawal::session(ISSUER, "s", END).unwrap(), NOW).unwrap();
    assert!(!is_revoked(&list, &bearer("g.1"), NOW));
    list.withdraw(&Withdrawal::grant(ISSUER, "g", at(100)).unwrap(), NOW).unwrap();
    for of_grant in ["g.1", "g.2", "g.", "g.1.2"] {
        assert!(is_revoked(&list, &bearer(of_grant), NOW), "{of_grant}");
        assert!(is_revoked(&list, &bearer(of_grant), at(399)), "{of_grant} in the grace");
        assert!(!is_revoked(&list, &bearer(of_grant), at(400)), "{of_grant} over");
    }
    for other in ["g", "", ".g", "g1.1", "G.1", "1.g", "g:1"] {
        assert!(!is_revoked(&list, &bearer(other), NOW), "{other}");
    }
    assert!(!is_revoked(&list, &caller("https://other.example", "alice", &[("jti", "g.1".into())]), NOW));
    assert!(!is_revoked(&list, &alice(&[("sid", "g".into())]), NOW));
    assert!(!is_revoked(&list, &caller(ISSUER, "g", &[]), NOW));
}

#[test]
fn a_subject_is_refused_for_what_was_issued_before_or_does_not_say_when() {
    let list = list(10);
    list.withdraw(&Withdrawal::subject(ISSUER, "alice", NOW, END).unwrap(), NOW).unwrap();
    let issued = |iat: serde_json::Value| is_revoked(&list, &alice(&[("iat", iat)]), NOW);
    let second = NOW.as_secs();
    for refused in [json!(second - 1), json!(second as f64 - 0.5), json!(0), json!(null), json!("x"), json!(-1)] {
        assert!(issued(refused.clone()), "{refused}");
    }
    assert!(is_revoked(&list, &alice(&[]), NOW));
    for passes in [json!(second), json!(second as f64 + 0.5), json!(second + 1)] {
        assert!(!issued(passes.clone()), "{passes}");
    }
    assert!(!is_revoked(&list, &caller(ISSUER, "bob", &[]), NOW));
}

#[test]
fn everything_up_to_now_includes_this_second() {
    let list = list(10);
    list.withdraw(&Withdrawal::subject_up_to(ISSUER, "alice", NOW, END).unwrap(), NOW).unwrap();
    let issued = |at: UnixSeconds| is_revoked(&list, &alice(&[("iat", at.as_secs().into())]), NOW);
    assert!(issued(NOW));
    assert!(!issued(at(1)));
}

#[test]
fn a_later_withdrawal_of_a_subject_is_not_undone_by_an_earlier_one() {
    let (early, late) = (
        Withdrawal::subject(ISSUER, "alice", at(-100), at(5_000)).unwrap(),
        Withdrawal::subject(ISSUER, "alice", NOW, END).unwrap(),
    );
    let caller = alice(&[("iat", at(-50).as_secs().into())]);
    for order in [[&early, &late], [&late, &early]] {
        let list = list(10);
        order.into_iter().for_each(|withdrawal| list.withdraw(withdrawal, NOW).unwrap());
        assert!(is_revoked(&list, &caller, NOW));
        // The later end holds as well.
        assert!(is_revoked(&list, &caller, at(4_999)));
        assert_eq!(list.len(), 1);
    }
}

#[test]
fn a_withdrawal_outlives_its_token_by_the_longest_leeway() {
    let list = list(10);
    list.withdraw(&token("t"), NOW).unwrap();
    for after in [0, 60, 299] {
        assert!(is_revoked(&list, &bearer("t"), at(1_000 + after)));
    }
    assert!(!is_revoked(&list, &bearer("t"), at(1_300)));
    // What ended that long ago is left out.
    list.withdraw(&Withdrawal::token(ISSUER, "old", at(-300)).unwrap(), NOW).unwrap();
    assert_eq!(list.len(), 1);
    list.withdraw(&Withdrawal::token(ISSUER, "old", at(-299)).unwrap(), NOW).unwrap();
    assert!(is_revoked(&list, &bearer("old"), NOW));
}

#[test]
fn a_shorter_withdrawal_does_not_shorten_a_longer_one() {
    let list = list(10);
    let short = Withdrawal::token(ISSUER, "t", at(1)).unwrap();
    for withdrawal in [&token("t"), &short] {
        list.withdraw(withdrawal, NOW).unwrap();
    }
    assert!(is_revoked(&list, &bearer("t"), at(999)));
}

#[test]
fn without_an_end_it_holds_for_ever() {
    let list = list(10);
    list.withdraw(&Withdrawal::token(ISSUER, "t", UnixSeconds::MAX).unwrap(), NOW).unwrap();
    for _ in 0..64 {
        list.sweep(UnixSeconds::MAX);
    }
    assert!(is_revoked(&list, &bearer("t"), UnixSeconds::new(300_000_000_000)));
}

#[test]
fn a_full_list_fails_closed_until_what_it_lost_would_have_ended() {
    let list = list(2);
    for id in ["a", "b"] {
        list.withdraw(&Withdrawal::token(ISSUER, id, UnixSeconds::MAX).unwrap(), NOW).unwrap();
    }
    assert!(!is_revoked(&list, &bearer("c"), NOW));
    assert!(list.withdraw(&token("c"), NOW).is_err());
    let check = list.local();
    for principal in [bearer("c"), bearer("innocent"), alice(&[])] {
        let failure = check.is_revoked(&principal, NOW).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert!(failure.retry_after().is_some());
    }
    assert!(check.is_revoked(&bearer("a"), NOW).unwrap(), "what is known is refused all the same");
    assert!(!list.health(NOW).is_complete);
    assert!(check.is_revoked(&bearer("c"), at(1_299)).is_err());
    assert!(!check.is_revoked(&bearer("c"), at(1_300)).unwrap());
    assert!(list.health(at(1_300)).is_complete);
}

#[test]
fn a_full_list_takes_what_it_knows_and_makes_room_from_what_is_over() {
    let list = list(2);
    list.withdraw(&Withdrawal::token(ISSUER, "short", at(-200)).unwrap(), NOW).unwrap();
    list.withdraw(&token("long"), NOW).unwrap();
    let longer = Withdrawal::token(ISSUER, "long", at(9_000)).unwrap();
    list.withdraw(&longer, NOW).unwrap();
    assert!(is_revoked(&list, &bearer("long"), at(8_999)));
    // In the second in which `short` is over there is room for another one.
    list.withdraw(&token("new"), at(100)).unwrap();
    assert!(is_revoked(&list, &bearer("new"), at(100)));
    assert_eq!(list.len(), 2);
}

#[test]
fn refuses_to_be_built_without_room() {
    assert!(RevocationList::builder().with_max_entries(0).build().is_err());
}

#[test]
fn an_entry_costs_less_than_thirty_bytes_and_the_memory_comes_back() {
    // As many for each part as ten million are for 64 times as many parts.
    const COUNT: usize = 156_250;
    let list = list(COUNT);
    let empty = list.heap_bytes();
    for number in 0..COUNT {
        list.withdraw(&token(&format!("token-{number}")), NOW).unwrap();
    }
    assert_eq!(list.len(), COUNT);
    let each = (list.heap_bytes() as f64) / COUNT as f64;
    assert!((20.0..30.0).contains(&each), "{each} bytes an entry");
    for _ in 0..64 {
        list.sweep(at(1_300));
    }
    assert!(list.is_empty());
    assert!(list.heap_bytes() < empty + 1_000, "{} bytes are kept for nothing", list.heap_bytes());
}

#[test]
fn adding_sweeps_what_is_over_on_the_way() {
    let list = list(1_000_000);
    for number in 0..10_000 {
        list.withdraw(&token(&format!("old-{number}")), NOW).unwrap();
    }
    for number in 0..70_000 {
        let new = Withdrawal::token(ISSUER, &format!("new-{number}"), at(90_000)).unwrap();
        list.withdraw(&new, at(5_000)).unwrap();
    }
    assert_eq!(list.len(), 70_000);
}

#[test]
fn debug_shows_counts_only() {
    let list = list(10);
    list.withdraw(&token("hush"), NOW).unwrap();
    let shown = format!("{list:?} {:?} {:?}", list.check(), list.health(NOW));
    assert!(shown.contains("1 of at most 10"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains(ISSUER), "{shown}");
    assert!(!format!("{:?}", RevocationList::builder().with_hash_key([173; 16])).contains("173"));
}

#[test]
fn what_is_withdrawn_is_refused_at_once_in_every_thread() {
    const THREADS: usize = 4;
    const EACH: usize = 2_000;
    let (list, done, seen) = (list(THREADS * EACH), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let list = list.clone();
                scope.spawn(move || {
                    for number in 0..EACH {
                        let id = format!("{thread}-{number}");
                        list.withdraw(&token(&id), NOW).unwrap();
                        assert!(is_revoked(&list, &bearer(&id), NOW));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            // What was refused once is refused ever after, and nobody else is.
            let (first, innocent) = (bearer("0-0"), bearer("innocent"));
            let mut was_refused = false;
            while !done.load(Ordering::Acquire) {
                let is_refused = is_revoked(&list, &first, NOW);
                assert!(is_refused || !was_refused);
                was_refused = is_refused;
                assert!(!is_revoked(&list, &innocent, NOW));
                list.sweep(NOW);
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
    });
    assert_eq!(list.len(), THREADS * EACH);
    assert!(seen.load(Ordering::Relaxed) > 0);
}
