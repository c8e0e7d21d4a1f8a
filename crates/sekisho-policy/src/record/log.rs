use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sekisho_core::ConfigError;
use serde_json::{Map, Value};

use super::file::RotatingFile;
use super::opa::LONGEST_LINE;
use super::queue::{Receiver, Sender, queue};
use super::{DecisionRecord, DecisionSink, NotRecorded, opa};

/// How many lines are written at once.
const BATCH: usize = 256;
/// How long nobody writes after writing failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes decisions to a file, a line for each, in the format of
/// [OPA's decision log](https://www.openpolicyagent.org/docs/management-decision-logs).
///
/// The question stands under `input` in AuthZEN's shape, the answer under `result` (`decision`, `effect`, `source`, `reasons`,
/// `obligations`, `lacking`), the revision under `bundles.sekisho`, the time that it took
/// under `metrics.timer_server_handler_ns`. Where no decision could be had there is `error` and no `result`. A difference that
/// a [shadow](crate::combine::shadow) found has a `candidate` beside it. OPA's `requested_by`, the address of who asked, is not
/// known here and left out.
///
/// A line is 64 KiB at the most. What was named of context, attributes and claims is left out of one that would be longer, and
/// if that is not enough, reasons and obligations too; `erased` lists their JSON pointers, as in OPA's own log. So nobody keeps
/// a decision out of the log by what she sends along with her question.
///
/// This is the end that takes records, and its clones are the same one. They wait in a queue; the other end, the
/// [`DecisionLogWriter`], writes them. A record that finds the queue full is lost and counted.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), sekisho_core::ConfigError> {
/// use sekisho_core::scope;
/// use sekisho_policy::record::{DecisionLog, Recorded};
///
/// let (log, writer) = DecisionLog::builder("decisions.log").with_label("app", "orders").build()?;
/// let writing = tokio::spawn(writer.run());
/// let orders = Recorded::new(scope("orders:read")).to(log);
/// // ... and at the end:
/// drop(orders);
/// writing.await.ok(); // all is written
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DecisionLog {
    sender: Sender<Box<str>>,
    shared: Arc<Shared>,
}

struct Shared {
    labels: Map<String, Value>,
    written: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
    is_failing: AtomicBool,
}

/// Counts what became of records, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecisionLogCounts {
    /// Records that stand in the file.
    pub written: u64,
    /// Records that found no room, or came too late.
    pub lost: u64,
    /// Records that could not be written.
    pub failed: u64,
}

impl DecisionLog {
    /// Begins one that writes to this file, which may exist. One process writes to it.
    pub fn builder(path: impl Into<PathBuf>) -> DecisionLogBuilder {
        DecisionLogBuilder {
            path: path.into(),
            labels: Map::new(),
            records: 4096,
            bytes: 16 << 20,
            file_bytes: 16 << 20,
            files: 8,
        }
    }

    /// Returns what became of records.
    #[must_use]
    pub fn counts(&self) -> DecisionLogCounts {
        self.shared.counts()
    }
}

impl DecisionSink for DecisionLog {
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded> {
        let mut line = opa::line(record, &self.shared.labels);
        line.push('\n');
        let length = line.len();
        let sent =
            if length > LONGEST_LINE { Err(NotRecorded::TooLarge) } else { self.sender.send(line.into(), length) };
        if let Err(reason) = sent {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            count_lost(reason, 1);
            return Err(reason);
        }
        if self.shared.is_failing.load(Ordering::Acquire) { Err(NotRecorded::Failing) } else { Ok(()) }
    }
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics have labels"))]
fn count_lost(reason: NotRecorded, count: u64) {
    #[cfg(feature = "metrics")]
    {
        let reason = match reason {
            NotRecorded::Full => "full",
            NotRecorded::TooLarge => "too_large",
            NotRecorded::Failing => "write",
            NotRecorded::Closed => "closed",
        };
        metrics::counter!("sekisho_decision_records_lost_total", "reason" => reason).increment(count);
    }
}

impl Shared {
    fn counts(&self) -> DecisionLogCounts {
        DecisionLogCounts {
            written: self.written.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionLog").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Collects how a [`DecisionLog`] is to be written.
#[derive(Debug)]
#[must_use]
pub struct DecisionLogBuilder {
    path: PathBuf,
    labels: Map<String, Value>,
    records: usize,
    bytes: usize,
    file_bytes: u64,
    files: usize,
}

impl DecisionLogBuilder {
    /// Adds a label, which stands in every line, such as `id` for the instance or `app`. Together 4 KiB at most, as they are
    /// written there.
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), Value::String(value.into()));
        self
    }

    /// Bounds what waits to be written: records, and bytes of their lines. Twice that is held while some are being written.
    /// Default 4,096 and 16 MiB.
    pub const fn with_queue(mut self, records: usize, bytes: usize) -> Self {
        self.records = records;
        self.bytes = bytes;
        self
    }

    /// Bounds the files: bytes of each, at least 64 KiB, and how many, 1 to 1,000. When the file would grow beyond, it becomes
    /// `name.1`, that one `name.2`, and the last one goes. Default 16 MiB and 8, 128 MiB in all.
    pub const fn with_files(mut self, bytes: u64, files: usize) -> Self {
        self.file_bytes = bytes;
        self.files = files;
        self
    }

    /// Opens the file. It is made for its owner alone (mode 0600), and made so if it exists.
    ///
    /// # Errors
    /// [`ConfigError`]: a bound without room or out of range, labels of more than 4 KiB, or a file that cannot be opened or is
    /// none, such as a link.
    pub fn build(self) -> Result<(DecisionLog, DecisionLogWriter), ConfigError> {
        let Self { path, labels, records, bytes, file_bytes, files } = self;
        if records == 0 || bytes < LONGEST_LINE {
            return Err(ConfigError::new("a decision log needs room for one record and 64 KiB to wait"));
        }
        if file_bytes < LONGEST_LINE as u64 || !(1..=1000).contains(&files) {
            return Err(ConfigError::new("a decision log needs 1 to 1,000 files of 64 KiB or more"));
        }
        if opa::labels(&labels).len() > 4096 {
            return Err(ConfigError::new("the labels of a decision log must be 4 KiB at most"));
        }
        let file = RotatingFile::open(path, file_bytes, files)
            .map_err(|error| ConfigError::new("the file of a decision log cannot be opened").with_source(error))?;
        let (sender, receiver) = queue(records, bytes);
        let shared = Arc::new(Shared {
            labels,
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        });
        let log = DecisionLog { sender, shared: Arc::clone(&shared) };
        Ok((log, DecisionLogWriter { receiver, shared, file }))
    }
}

/// Writes what a [`DecisionLog`] takes: as a future to be spawned, or [by hand](Self::write_pending).
///
/// What cannot be written is lost, counted, and told once to `tracing` until writing succeeds again; meanwhile one batch a
/// second is tried. When the writer is dropped, the log takes nothing any more.
#[must_use]
pub struct DecisionLogWriter {
    receiver: Receiver<Box<str>>,
    shared: Arc<Shared>,
    file: RotatingFile,
}

impl DecisionLogWriter {
    /// Writes until all clones of the log are gone and everything is written. Writing is done where blocking is allowed; needs
    /// a runtime of `tokio`.
    pub async fn run(self) {
        self.run_until(std::future::pending()).await;
    }

    /// Writes until `shutdown` is ready, or all clones of the log are gone; then what is in the queue is written, and nothing
    /// more is taken.
    pub async fn run_until(self, shutdown: impl Future<Output = ()> + Send) {
        let mut writer = self;
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let has_more = tokio::select! {
                () = &mut shutdown => false,
                has_more = writer.receiver.wait() => has_more,
            };
            if !has_more {
                writer.receiver.close();
            }
            let blocking = tokio::task::spawn_blocking(move || {
                if has_more {
                    writer.write_batch();
                } else {
                    writer.write_pending();
                }
                writer
            });
            match blocking.await {
                Ok(back) => writer = back,
                Err(_) => {
                    tracing::error!(target: "sekisho::decision_log", "the decision log has ended: its writer is gone");
                    return;
                }
            }
            if !has_more {
                return;
            }
            if writer.shared.is_failing.load(Ordering::Acquire) {
                tokio::select! {
                    () = &mut shutdown => {
                        writer.receiver.close();
                        let _ = tokio::task::spawn_blocking(move || writer.write_pending()).await;
                        return;
                    }
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    /// Writes all that waits now, blocking, and has the system write it down. For programs without a runtime; returns how many
    /// records were written.
    pub fn write_pending(&mut self) -> usize {
        let mut written = 0;
        loop {
            match self.write_batch() {
                None => break,
                Some(count) => written += count,
            }
        }
        if let Err(error) = self.file.sync() {
            self.tell(&error);
        }
        written
    }

    /// Writes one batch; `None` if nothing waits.
    fn write_batch(&mut self) -> Option<usize> {
        let lines: Vec<Box<str>> = std::iter::from_fn(|| self.receiver.take()).take(BATCH).collect();
        if lines.is_empty() {
            return None;
        }
        let (written, outcome) = self.file.write(&lines);
        self.shared.written.fetch_add(written as u64, Ordering::Relaxed);
        match outcome {
            Ok(()) => {
                if self.shared.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(target: "sekisho::decision_log", "the decision log is written again");
                }
            }
            Err(error) => {
                let failed = (lines.len() - written) as u64;
                self.shared.failed.fetch_add(failed, Ordering::Relaxed);
                count_lost(NotRecorded::Failing, failed);
                self.tell(&error);
            }
        }
        Some(written)
    }

    /// Notes that writing fails; says so the first time only.
    fn tell(&self, error: &std::io::Error) {
        if !self.shared.is_failing.swap(true, Ordering::AcqRel) {
            tracing::error!(target: "sekisho::decision_log", kind = %error.kind(), "the decision log cannot be written");
        }
    }
}

impl fmt::Debug for DecisionLogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionLogWriter").field("counts", &self.shared.counts()).finish_non_exhaustive()
    }
}
