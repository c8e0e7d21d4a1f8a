use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_core::{Failure, RevocationCheck};
use sekisho_revocation::{FeedBatch, StalePolicy};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{Event as Happens, NOW, Script, at, bearer, clock, list, token, until};

/// Keeps what is logged, level and all fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn collect() -> (Self, DefaultGuard) {
        let lines = Self::default();
        (lines.clone(), tracing::subscriber::set_default(lines))
    }

    fn with(&self, level: Level) -> Vec<String> {
        let level = level.to_string();
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(&level)).cloned().collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sekisho")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!(" {}={value:?}", field.name()));
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

#[test]
fn passing_when_stale_is_logged_once_a_minute() {
    let (lines, _guard) = Lines::collect();
    let check = list(10).check().with_policy(StalePolicy::dangerous_pass_after(Duration::from_secs(60)));
    for offset in 0..180 {
        check.is_revoked(&bearer("hush"), at(offset)).unwrap();
    }
    let warnings = lines.with(Level::WARN);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(!warnings.concat().contains("hush"));
}

#[test]
fn a_full_list_is_logged_once() {
    let (lines, _guard) = Lines::collect();
    let list = list(1);
    list.withdraw(&token("a"), NOW).unwrap();
    for number in 0..100 {
        list.withdraw(&token(&format!("hush-{number}")), NOW).unwrap_err();
    }
    let errors = lines.with(Level::ERROR);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(!errors.concat().contains("hush"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_feed_is_told_once_for_each_outage_and_so_is_its_return() {
    let (lines, _guard) = Lines::collect();
    let (list, feed) = (list(10), Script::default());
    let _following = list.follow(feed.clone()).with_clock(clock().1).start().unwrap();
    until("five attempts", || feed.asked_with().len() > 5).await;
    assert_eq!(lines.with(Level::WARN).len(), 1);
    let lost = Happens::Lose(Failure::unavailable("connection lost").with_source("reset\nby peer"));
    feed.add([Happens::Batch(FeedBatch::current(Vec::new(), NOW)), lost]);
    until("lost again", || lines.with(Level::WARN).len() > 1).await;
    assert_eq!(lines.with(Level::INFO).len(), 1);
    let warning = &lines.with(Level::WARN)[1];
    assert!(warning.contains("connection lost: reset by peer"), "{warning}");
}
