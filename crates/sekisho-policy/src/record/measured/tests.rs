use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Requirement, Resource, UnixSeconds, scope};

use super::*;
use crate::combine::{fallback, shadow};
use crate::record::{DecisionRecord, DecisionSink, NotRecorded, Recorded};

/// Writes down each measurement, with its labels.
#[derive(Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

struct Note(String, Arc<Mutex<Vec<String>>>);

impl CounterFn for Note {
    fn increment(&self, by: u64) {
        self.1.lock().unwrap().push(format!("{} +{by}", self.0));
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Note {
    fn record(&self, seconds: f64) {
        assert!((0.0..5.0).contains(&seconds), "in seconds");
        self.1.lock().unwrap().push(self.0.clone());
    }
}

impl Notes {
    fn note(&self, key: &Key) -> Arc<Note> {
        let labels: Vec<String> = key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect();
        Arc::new(Note(format!("{}{}", key.name(), labels.concat()), Arc::clone(&self.0)))
    }
}

impl Recorder for Notes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.note(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.note(key))
    }
}

struct Down;

#[async_trait]
impl Authorize for Down {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(Err(Failure::unavailable("down")))
    }

    async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
        Err(Failure::unavailable("down"))
    }
}

enum Candidate {
    Rule(Requirement),
    Down,
}

#[async_trait]
impl Authorize for Candidate {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        match self {
            Self::Rule(rule) => rule.decide_now(request),
            Self::Down => Down.decide_now(request),
        }
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.decide_now(request).unwrap()
    }
}

struct Refuses;

impl DecisionSink for Refuses {
    fn record(&self, _: &DecisionRecord) -> Result<(), NotRecorded> {
        Err(NotRecorded::Full)
    }
}

#[test]
fn decisions_are_counted_by_outcome_and_source_and_never_by_who_asked_for_what() {
    let notes = Notes::default();
    let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("read").build().unwrap();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(1));
    metrics::with_local_recorder(&notes, || {
        assert!(Measured::new(scope("read")).decide_now(&request).unwrap().is_ok());
        assert!(Measured::new(scope("write")).decide_now(&request).unwrap().is_ok());
        let shop = fallback(Down).reads(["read"]).or_decided_by(scope("read")).build().unwrap();
        assert!(Measured::new(shop).decide_now(&request).unwrap().is_ok());
        assert!(Measured::new(fallback(Down).reads(["read"]).build().unwrap()).decide_now(&request).unwrap().is_err());
        let (shop, runner) = shadow(scope("read"), scope("write")).build().unwrap();
        drop(runner);
        assert!(shop.decide_now(&request).unwrap().is_ok());
        for candidate in [Candidate::Rule(scope("write")), Candidate::Rule(scope("read")), Candidate::Down] {
            let (shop, runner) = shadow(scope("read"), candidate).to(Refuses).build().unwrap();
            assert!(shop.decide_now(&request).unwrap().is_ok());
            drop(shop);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(runner.run());
        }
        assert!(Recorded::new(scope("read")).to(Refuses).decide_now(&request).unwrap().is_ok());
    });
    let notes = notes.0.lock().unwrap().clone();
    assert_eq!(
        notes,
        [
            "sekisho_decisions_total outcome=permit source=local +1",
            "sekisho_decision_seconds source=local",
            "sekisho_decisions_total outcome=deny source=local +1",
            "sekisho_decision_seconds source=local",
            "sekisho_decision_fallbacks_total by=other +1",
            "sekisho_decisions_total outcome=permit source=fallback +1",
            "sekisho_decision_seconds source=fallback",
            "sekisho_decision_fallbacks_total by=none +1",
            "sekisho_decisions_total outcome=error source=none +1",
            "sekisho_decision_seconds source=none",
            "sekisho_shadow_comparisons_total outcome=dropped +1",
            "sekisho_shadow_comparisons_total outcome=different +1",
            "sekisho_decisions_total outcome=deny source=shadow-diff +1",
            "sekisho_decision_records_untaken_total +1",
            "sekisho_shadow_comparisons_total outcome=equal +1",
            "sekisho_shadow_comparisons_total outcome=failed +1",
            "sekisho_decisions_total outcome=error source=shadow-diff +1",
            "sekisho_decision_records_untaken_total +1",
            "sekisho_decision_records_untaken_total +1",
        ]
    );
}
