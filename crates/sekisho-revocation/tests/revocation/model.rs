//! A list against a map that keeps everything and computes by the book.

use std::collections::HashMap;

use proptest::prelude::*;
use sekisho_core::{Principal, UnixSeconds};
use sekisho_revocation::Withdrawal;

use crate::support::{NOW, caller, is_revoked, list};

const GRACE: u64 = 300;

#[derive(Clone, Debug)]
enum Step {
    Withdraw { kind: u8, issuer: u8, id: u8, not_before: u64, lasts: u64 },
    Sweep(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let withdraw = (0..4_u8, 0..2_u8, 0..4_u8, 0..2_000_u64, 0..2_000_u64)
        .prop_map(|(kind, issuer, id, not_before, lasts)| Step::Withdraw { kind, issuer, id, not_before, lasts });
    let step =
        prop_oneof![4 => withdraw, 1 => (0..70_u8).prop_map(Step::Sweep), 2 => (0..900_u64).prop_map(Step::Wait)];
    prop::collection::vec(step, 1..40)
}

#[derive(Default)]
struct Model {
    /// `until` and `not_before`, by kind, issuer and id.
    entries: HashMap<(u8, String, String), (u64, u64)>,
}

impl Model {
    fn put(&mut self, kind: u8, issuer: &str, id: &str, not_before: u64, until: u64, now: u64) {
        let entry = self.entries.entry((kind, issuer.to_owned(), id.to_owned())).or_default();
        if entry.0 + GRACE <= now {
            *entry = (0, 0);
        }
        *entry = (entry.0.max(until), entry.1.max(not_before));
    }

    fn names(&self, principal: &Principal, now: u64) -> bool {
        let find = |kind: u8, id: Option<&str>| {
            let key = (kind, principal.issuer().to_owned(), id?.to_owned());
            self.entries.get(&key).filter(|(until, _)| now < until + GRACE)
        };
        let issued_at = principal.claims().get("iat").and_then(|iat| iat.as_numeric_date());
        let token_id = principal.token_id();
        find(0, token_id.as_deref()).is_some()
            || find(3, token_id.as_deref().and_then(|id| id.split_once('.')).map(|(grant, _)| grant)).is_some()
            || find(1, principal.session_id().as_deref()).is_some()
            || find(2, Some(principal.subject()))
                .is_some_and(|(_, not_before)| issued_at.is_none_or(|at| at < *not_before))
    }
}

proptest! {
    #[test]
    fn a_list_answers_as_a_map_that_forgets_nothing(steps in steps(), issued in prop::option::of(0..2_000_u64)) {
        let (list, mut model, mut now) = (list(1_000), Model::default(), NOW.as_secs());
        for step in steps {
            match step {
                Step::Withdraw { kind, issuer, id, not_before, lasts } => {
                    let (issuer, id) = (format!("https://{issuer}.example"), format!("id-{id}"));
                    let (until, not_before) = (now + lasts, NOW.as_secs() + not_before);
                    let end = UnixSeconds::new(until);
                    let withdrawal = match kind {
                        0 => Withdrawal::token(&issuer, &id, end),
                        1 => Withdrawal::session(&issuer, &id, end),
                        3 => Withdrawal::grant(&issuer, &id, end),
                        _ => Withdrawal::subject(&issuer, &id, UnixSeconds::new(not_before), end),
                    }.unwrap();
                    list.withdraw(&withdrawal, UnixSeconds::new(now)).unwrap();
                    model.put(kind, &issuer, &id, if kind == 2 { not_before } else { 0 }, until, now);
                }
                Step::Sweep(times) => (0..times).for_each(|_| list.sweep(UnixSeconds::new(now))),
                Step::Wait(seconds) => now += seconds,
            }
            for issuer in ["https://0.example", "https://1.example", "https://2.example"] {
                for id in 0..5 {
                    let id = format!("id-{id}");
                    let mut claims = vec![("jti", id.clone().into()), ("sid", format!("{id}-").into())];
                    claims.extend(issued.map(|at| ("iat", (NOW.as_secs() + at).into())));
                    for (subject, claims) in [("nobody", &claims), (id.as_str(), &claims[1..].to_vec())] {
                        let principal = caller(issuer, subject, claims);
                        let answer = is_revoked(&list, &principal, UnixSeconds::new(now));
                        let expected = model.names(&principal, now);
                        prop_assert_eq!(answer, expected, "{:?} at {}", principal, now - NOW.as_secs());
                    }
                    let of_session = caller(issuer, "nobody", &[("sid", id.clone().into())]);
                    let of_grant = caller(issuer, "nobody", &[("jti", format!("{id}.1").into())]);
                    for principal in [of_session, of_grant] {
                        let expected = model.names(&principal, now);
                        prop_assert_eq!(is_revoked(&list, &principal, UnixSeconds::new(now)), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_withdrawals_does_not_matter(
        withdrawals in prop::collection::vec((0..4_u8, 0..3_u8, 0..2_000_u64, 0..2_000_u64), 1..20),
        shuffle: u64,
    ) {
        let make = |&(kind, id, not_before, lasts): &(u8, u8, u64, u64)| {
            let (id, until) = (format!("id-{id}"), UnixSeconds::new(NOW.as_secs() + lasts));
            match kind {
                0 => Withdrawal::token("i", &id, until),
                1 => Withdrawal::session("i", &id, until),
                3 => Withdrawal::grant("i", &id, until),
                _ => Withdrawal::subject("i", &id, UnixSeconds::new(NOW.as_secs() + not_before), until),
            }.unwrap()
        };
        let mut other = withdrawals.clone();
        let place = |(kind, id, a, b): &(u8, u8, u64, u64)| u64::from(*kind) * 7 + u64::from(*id) * 31 + a * 17 + b;
        other.sort_by_key(|withdrawal| place(withdrawal).wrapping_mul(shuffle | 1));
        // And each twice.
        other.extend(withdrawals.clone());
        let (one, two) = (list(100), list(100));
        withdrawals.iter().for_each(|w| one.withdraw(&make(w), NOW).unwrap());
        other.iter().for_each(|w| two.withdraw(&make(w), NOW).unwrap());
        for id in 0..3 {
            for issued in [0, 500, 1_000, 1_999] {
                for after in [0, 400, 1_200, 2_400] {
                    let (id, now) = (format!("id-{id}"), UnixSeconds::new(NOW.as_secs() + after));
                    let iat = ("iat", (NOW.as_secs() + issued).into());
                    for principal in [
                        caller("i", &id, std::slice::from_ref(&iat)),
                        caller("i", "nobody", &[("jti", id.clone().into())]),
                        caller("i", "nobody", &[("sid", id.clone().into())]),
                        caller("i", "nobody", &[("jti", format!("{id}.1").into())]),
                    ] {
                        prop_assert_eq!(is_revoked(&one, &principal, now), is_revoked(&two, &principal, now));
                    }
                }
            }
        }
    }
}
