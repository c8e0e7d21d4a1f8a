use std::fmt;
use std::sync::Arc;

use super::DecisionRecord;
use super::entry::Escaped;

/// Takes records of decisions.
///
/// Contract for implementers: it is called on the path of a request, so it neither blocks nor waits; what takes time goes to a
/// bounded queue. `Ok` says that the record is kept, or is on its way to where it will be.
pub trait DecisionSink: Send + Sync {
    /// Takes a record.
    ///
    /// # Errors
    /// [`NotRecorded`] when it is lost, or may be.
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded>;
}

impl<S: DecisionSink + ?Sized> DecisionSink for Arc<S> {
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded> {
        (**self).record(record)
    }
}

/// Says why a record is lost, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotRecorded {
    /// More come than can be written.
    Full,
    /// It is larger than allowed.
    TooLarge,
    /// What came before it could not be written.
    Failing,
    /// Nobody writes any more.
    Closed,
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "more records come than can be written",
            Self::TooLarge => "the record is larger than allowed",
            Self::Failing => "the records before could not be written",
            Self::Closed => "nobody writes records any more",
        })
    }
}

impl std::error::Error for NotRecorded {}

/// Writes an event of `tracing` for each record, at level `INFO` and with target `sekisho::decision`. Of more than 8 KiB of
/// what was named of context, attributes and claims, it says that it was left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

impl DecisionSink for TracingSink {
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded> {
        let outcome = record.outcome();
        let candidate = record.candidate();
        // As strings, which stand in quotation marks wherever they could be read as more than one field.
        let escaped = |text: &str| Escaped(text).to_string();
        let joined = |texts: &[Box<str>]| escaped(&texts.join("; "));
        tracing::info!(
            target: "sekisho::decision",
            decision_id = escaped(record.decision_id()),
            subject = escaped(record.subject()),
            issuer = escaped(record.issuer()),
            client = record.client().map(escaped),
            token_id = record.token_id().map(escaped),
            action = escaped(record.action()),
            resource_kind = escaped(record.resource_kind()),
            resource_id = escaped(record.resource_id()),
            effect = outcome.effect(),
            source = outcome.source(),
            revision = outcome.revision().map(escaped),
            reasons = joined(outcome.reasons()),
            obligations = joined(outcome.obligations()),
            lacking = outcome.lacking(),
            failure = outcome.failure().map(escaped),
            candidate = candidate.map(|candidate| candidate.effect()),
            candidate_reasons = candidate.map(|candidate| joined(candidate.reasons())),
            named = escaped(&record.named_json()),
            latency_us = u64::try_from(record.latency().as_micros()).unwrap_or(u64::MAX),
            "decision"
        );
        Ok(())
    }
}
