use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down every event and span with all its fields, for tests that look for what must not stand in a log. A clone is the same one.
///
/// # Examples
/// ```
/// use sekisho_testkit::LogRecorder;
/// let recorder = LogRecorder::default();
/// tracing::subscriber::with_default(recorder.clone(), || tracing::info!(user = "alice", "logged in"));
/// assert!(recorder.text().contains("logged in") && !recorder.text().contains("s3cret"));
/// ```
#[derive(Clone, Default)]
pub struct LogRecorder(Arc<Mutex<String>>);

impl LogRecorder {
    /// Returns what was written down so far, an event a line.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, text: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_fmt(text);
    }
}

impl Visit for LogRecorder {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(format_args!(" {field}={value:?}"));
    }
}

impl Subscriber for LogRecorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
        self.push(format_args!("\n"));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl fmt::Debug for LogRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogRecorder(..)")
    }
}
