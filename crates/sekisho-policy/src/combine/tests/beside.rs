use sekisho_core::json::JsonObject;

use super::*;
use crate::record::{DecisionRecord, DecisionSink, NotRecorded};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<DecisionRecord>>>);

impl DecisionSink for Kept {
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

fn effects(kept: &Kept) -> Vec<(&'static str, &'static str)> {
    let kept = kept.0.lock().unwrap();
    kept.iter().map(|record| (record.outcome().effect(), record.candidate().unwrap().effect())).collect()
}

/// Does to its caller whatever a bad policy can.
struct Bad(&'static str);

#[async_trait]
impl Authorize for Bad {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        None
    }

    async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
        match self.0 {
            "panics" => panic!("a candidate may"),
            _ => std::future::pending().await,
        }
    }
}

#[test]
fn a_shadow_answers_as_the_live_one_and_records_where_the_other_differs() {
    let alice = alice();
    let (live, candidate) = (Scripted::local("live", Permit), Scripted::remote("candidate", Permit));
    let kept = Kept::default();
    let (shop, runner) = shadow(live.clone(), candidate.clone()).to(kept.clone()).build().unwrap();
    let counts = block_on(async move {
        let running = tokio::spawn(runner.run());
        for (one, other) in [(Permit, Permit), (Permit, Deny), (Deny, Permit), (Permit, Fail), (Fail, Permit)] {
            live.now_says(one);
            candidate.now_says(other);
            assert_eq!(said(&shop.decide_now(&ask(&alice, "read", 1)).unwrap()), one);
            assert_eq!(said(&shop.decide(&ask(&alice, "read", 1)).await), one);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let counts = shop.counts();
        drop(shop);
        running.await.unwrap();
        counts
    });
    assert_eq!((counts.equal, counts.different, counts.failed, counts.dropped), (2, 4, 2, 0));
    let twice = |pair| [pair, pair];
    let expected = [twice(("permit", "deny")), twice(("deny", "permit")), twice(("permit", "error"))].concat();
    assert_eq!(effects(&kept), expected);
}

#[test]
fn neither_panic_nor_silence_of_a_candidate_reaches_the_live_answer() {
    let alice = alice();
    for bad in ["panics", "never answers"] {
        let kept = Kept::default();
        let builder = shadow(Scripted::local("live", Permit), Bad(bad)).to(kept.clone());
        let (shop, runner) = builder.with_deadline(Duration::from_millis(50)).build().unwrap();
        let explained = block_on(async {
            assert_eq!(said(&shop.decide(&ask(&alice, "read", 1)).await), Permit);
            let explained = shop.explain(&ask(&alice, "read", 1)).await;
            drop(shop);
            runner.run().await;
            explained
        });
        assert_eq!(effects(&kept), [("permit", "error")], "{bad}");
        assert_eq!(said(explained.outcome().unwrap()), Permit);
        assert_eq!(explained.parts().iter().map(Explanation::is_decisive).collect::<Vec<_>>(), [true, false]);
    }
}

#[test]
fn what_a_shadow_has_no_room_for_is_dropped_and_counted_and_delays_nobody() {
    let alice = alice();
    let candidate = Scripted::local("candidate", Deny);
    let builder = shadow(Scripted::local("live", Permit), candidate.clone()).with_queue(2, 1 << 20);
    let (shop, runner) = builder.build().unwrap();
    for _ in 0..5 {
        assert_eq!(said(&shop.decide_now(&ask(&alice, "read", 1)).unwrap()), Permit);
    }
    assert_eq!((shop.counts().dropped, candidate.asked()), (3, 0));
    drop(runner);
    assert_eq!(said(&shop.decide_now(&ask(&alice, "read", 1)).unwrap()), Permit);
    assert_eq!(shop.counts().dropped, 4);
    let big = "x".repeat(70_000);
    let (shop, _runner) = shadow(Scripted::local("live", Permit), candidate).build().unwrap();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", &big), UnixSeconds::new(1));
    assert_eq!(said(&shop.decide_now(&request).unwrap()), Permit);
    assert_eq!(shop.counts().dropped, 1);
}

#[test]
fn a_shadow_compares_the_share_that_it_was_told() {
    let alice = alice();
    for (share, expected) in [(0, 0), (100, 100), (1, 1), (1000, 1000)] {
        let (shop, runner) =
            shadow(Scripted::local("a", Permit), Scripted::local("b", Deny)).with_share(share).build().unwrap();
        drop(runner);
        for _ in 0..1000 {
            shop.decide_now(&ask(&alice, "read", 1)).unwrap().unwrap();
        }
        assert_eq!(shop.counts().dropped, expected, "{share}");
    }
    let builder = || shadow(Scripted::local("a", Permit), Scripted::local("b", Deny));
    assert!(builder().with_share(1001).build().is_err());
    assert!(builder().with_concurrency(0).build().is_err());
    assert!(builder().with_queue(0, 1 << 20).build().is_err());
    assert!(builder().with_deadline(Duration::ZERO).build().is_err());
}

#[test]
fn a_canary_chooses_the_same_share_of_subjects_each_time() {
    let people: Vec<Principal> = (0..2000)
        .map(|number| PrincipalBuilder::new("https://id.example", format!("user-{number}")).build().unwrap())
        .collect();
    let of = |share| canary(share, Scripted::local("live", Deny), Scripted::local("candidate", Permit)).unwrap();
    let chosen = |canary: &Canary<_, _>| people.iter().map(|one| canary.is_chosen(one)).collect::<Vec<_>>();
    let (small, again, large, keyed) = (of(100), of(100), of(300), of(100).with_key([7; 16]));
    assert_eq!(chosen(&small), chosen(&again));
    let count = |canary| chosen(canary).into_iter().filter(|is_chosen| *is_chosen).count();
    assert!((140..260).contains(&count(&small)), "{}", count(&small));
    assert!(chosen(&small).iter().zip(chosen(&large)).all(|(small, large)| !small || large));
    assert_ne!(chosen(&small), chosen(&keyed));
    assert_eq!((count(&of(0)), count(&of(1000))), (0, 2000));
    for one in people.iter().take(50) {
        let expected = if small.is_chosen(one) { Permit } else { Deny };
        assert_eq!(said(&small.decide_now(&ask(one, "read", 1)).unwrap()), expected);
        assert_eq!(said(&block_on(small.decide(&ask(one, "read", 1)))), expected);
    }
    let requests: Vec<_> = people.iter().take(50).map(|one| ask(one, "read", 1)).collect();
    let many = block_on(small.decide_all(&requests, EvaluationsSemantic::ExecuteAll));
    let expected: Vec<_> = people.iter().take(50).map(|one| if small.is_chosen(one) { Permit } else { Deny }).collect();
    assert_eq!(many.iter().map(said).collect::<Vec<_>>(), expected);
    let first = block_on(small.decide_all(&requests, EvaluationsSemantic::DenyOnFirstDeny));
    assert!(first.len() < 50 && said(first.last().unwrap()) == Deny);
    assert!(canary(1001, Scripted::local("a", Deny), Scripted::local("b", Permit)).is_err());
}

#[test]
fn local_then_remote_is_what_its_table_says() {
    let alice = alice();
    let request = ask(&alice, "read", 1);
    for local in [Permit, Deny, Silent, Fail] {
        for remote in [Permit, Deny, Silent, Fail] {
            for (local_waits, remote_waits) in [(false, false), (false, true), (true, true)] {
                let one = Scripted::new("local", local, local_waits);
                let other = Scripted::new("remote", remote, remote_waits);
                let strict = local_then_remote(one.clone(), other.clone());
                let (expected, asks) = match local {
                    Deny | Fail => (local, 0),
                    Permit | Silent => (remote, 1),
                };
                assert_eq!(said(&block_on(strict.decide(&request))), expected, "{local:?}, {remote:?}");
                assert_eq!(other.asked(), asks, "{local:?}, {remote:?}");
                assert_eq!(said(block_on(strict.explain(&request)).outcome().unwrap()), expected);
                let both =
                    block_on(strict.decide_all(&[request.clone(), request.clone()], EvaluationsSemantic::ExecuteAll));
                assert_eq!(both.iter().map(said).collect::<Vec<_>>(), [expected, expected]);
                match strict.decide_now(&request) {
                    Some(outcome) => assert_eq!(said(&outcome), expected),
                    None => assert!(local_waits || remote_waits && asks == 1),
                }
                let lenient = local_then_remote(one, other).where_a_local_permit_suffices();
                let expected = if local == Permit { Permit } else { expected };
                assert_eq!(said(&block_on(lenient.decide(&request))), expected, "{local:?}, {remote:?}");
            }
        }
    }
}

#[test]
fn a_shadow_tells_obligations_with_other_parameters_apart() {
    let alice = alice();
    let with = |obligations: &[(&str, &str)]| {
        obligations.iter().fold(Decision::permit(), |decision, (id, parameters)| {
            let parameters = JsonObject::parse(parameters.as_bytes().to_vec()).unwrap();
            decision.with_obligation(Obligation::new(*id).with_parameters(parameters))
        })
    };
    let iban = with(&[("redact", r#"{"fields":["iban"]}"#), ("log", r#"{"message":"x","level":1}"#)]);
    let bare = Decision::permit().with_obligation(Obligation::new("redact")).with_obligation(Obligation::new("log"));
    for (candidate, is_equal) in [
        (with(&[("log", r#"{"level":1,"message":"x"}"#), ("redact", r#"{"fields":["iban"]}"#)]), true),
        (with(&[("redact", r#"{"fields":["total"]}"#), ("log", r#"{"message":"x","level":1}"#)]), false),
        (with(&[("redact", r#"{"fields":[]}"#), ("log", r#"{"message":"x","level":1}"#)]), false),
        (with(&[("redact", r#"{"fields":["iban"]}"#), ("redact", r#"{"fields":["iban"]}"#)]), false),
        (with(&[("redact", r#"{"fields":["iban"]}"#)]), false),
        (bare, false),
    ] {
        let kept = Kept::default();
        let live = Scripted::local("live", Permit).with(iban.clone());
        let candidate = Scripted::local("candidate", Permit).with(candidate);
        let (shop, runner) = shadow(live, candidate).to(kept.clone()).build().unwrap();
        block_on(async {
            shop.decide_now(&ask(&alice, "read", 1)).unwrap().unwrap();
            drop(shop);
            runner.run().await;
        });
        assert_eq!(kept.0.lock().unwrap().is_empty(), is_equal);
    }
}

struct Refuses;

impl DecisionSink for Refuses {
    fn record(&self, _: &DecisionRecord) -> Result<(), NotRecorded> {
        Err(NotRecorded::Full)
    }
}

#[test]
fn differences_that_no_sink_takes_are_counted() {
    let alice = alice();
    let (live, candidate) = (Scripted::local("live", Permit), Scripted::local("candidate", Deny));
    let (shop, runner) = shadow(live, candidate).to(Refuses).build().unwrap();
    let counts = block_on(async {
        let running = tokio::spawn(runner.run());
        for _ in 0..3 {
            shop.decide_now(&ask(&alice, "read", 1)).unwrap().unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = shop.counts();
        drop(shop);
        running.await.unwrap();
        counts
    });
    assert_eq!((counts.different, counts.unrecorded, counts.dropped), (3, 3, 0));
}
