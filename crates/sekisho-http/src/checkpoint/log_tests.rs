//! What goes to `tracing`, and what does not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, FailureKind, Reject, scope};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::tests::{checkpoint, get};
use crate::{Inspection, Passage, Presence};

/// Writes each event as one line: level, target, fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut lines = self.0.lock().unwrap();
        write!(lines, "{} {}", event.metadata().level(), event.metadata().target()).unwrap();
        event.record(&mut Line(&mut lines));
        lines.push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Does it twice, and returns what the second time left behind.
fn logged(work: impl Fn()) -> String {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        // Another test may have met a line for the first time just now, and then nobody listened.
        work();
        tracing::callsite::rebuild_interest_cache();
        lines.0.lock().unwrap().clear();
        work();
    });
    lines.0.lock().unwrap().clone()
}

#[test]
fn logs_why_a_credential_was_refused_and_not_the_credential() {
    let log = logged(|| {
        let head = get("/", &[("authorization", b"Bearer t-s3cret")]);
        assert!(matches!(checkpoint().inspect(&head, Presence::Required), Inspection::Refuse(_)));
    });
    assert!(log.starts_with("INFO sekisho "), "{log}");
    assert!(log.contains(Reject::Signature.code()), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn logs_the_subject_that_is_denied_on_one_line() {
    let principal = PrincipalBuilder::new("https://id.example", "eve\nINFO forged").build().unwrap();
    let log = logged(|| assert!(checkpoint().check(&principal, &scope("b")).is_err()));
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("@https://id.example"), "{log}");
}

#[test]
fn logs_a_failure_with_its_causes() {
    let failure = Failure::unavailable("keys never loaded").with_source("connection\nrefused");
    let refusal = failure.into();
    let log = logged(|| assert_eq!(checkpoint().refuse(&refusal).status(), 503));
    assert!(log.starts_with("WARN sekisho ") && log.contains("keys never loaded: connection refused"), "{log}");
}

#[test]
fn calls_it_an_error_when_somebody_here_must_mend_it_and_a_warning_when_it_may_pass() {
    for (kind, level) in
        [(FailureKind::Misconfigured, "ERROR"), (FailureKind::Unavailable, "WARN"), (FailureKind::BadGateway, "WARN")]
    {
        let log = logged(|| drop(checkpoint().refuse(&Failure::new(kind, "x").into())));
        assert!(log.starts_with(&format!("{level} sekisho ")) && log.lines().count() == 1, "{log}");
    }
}

#[test]
fn says_clearly_that_a_layer_is_missing() {
    let log = logged(|| assert_eq!(Passage::caller(None).unwrap_err().status(), 500));
    assert!(log.starts_with("ERROR sekisho ") && log.contains("no checkpoint guards this route"), "{log}");
}

#[test]
fn says_little_of_requests_without_a_credential() {
    let log = logged(|| assert_eq!(checkpoint().ask().status(), 401));
    assert!(log.starts_with("DEBUG sekisho "), "{log}");
}
