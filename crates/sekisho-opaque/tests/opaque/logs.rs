//! Nothing secret is shown or logged, whatever goes wrong.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_core::Refusal;
use sekisho_http::{Checkpoint, HeadParts, Inspection, Presence};
use sekisho_opaque::{ClientCredentials, Opaque};
use sekisho_testkit::FixedClock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::server::{Reply, Server};
use crate::support::{AUDIENCE, ISSUER, NOW, TOKEN, active, active_with, inactive, introspect};

/// Writes every event down, of every level and target.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Line(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn neither_token_nor_secret_nor_what_the_provider_wrote_is_logged() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for reply in [
        inactive(),
        active(),
        active_with("aud", "personal-data"),
        active_with("exp", "personal-data"),
        Reply::json("personal-data"),
        Reply::Whole(401, Vec::new(), b"personal-data hunter2".to_vec()),
        Reply::Whole(500, Vec::new(), b"personal-data hunter2".to_vec()),
        Reply::Truncated(b"personal-data".to_vec()),
        Reply::Hang,
    ] {
        let server = Server::start(reply).await;
        let secret_url = format!("{}?key=hunter2", server.url());
        let builder = Opaque::introspect(secret_url, ClientCredentials::basic("gateway", "hunter2"));
        let builder = builder.issuer(ISSUER).audience(AUDIENCE).with_timeout(Duration::from_millis(300));
        assert!(!format!("{builder:?}").contains("hunter2"));
        let checkpoint =
            Checkpoint::builder().accept(builder).with_clock(Arc::new(FixedClock::at(NOW))).build().unwrap();
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("authorization", authorization.as_bytes())];
        let head = HeadParts { method: "GET", path: "/", headers: &headers };
        let Inspection::Wait(pending) = checkpoint.inspect(&head, Presence::Required) else { panic!("at once") };
        drop(pending.resolve().await);
    }
    let written = log.0.lock().unwrap().clone();
    assert!(written.contains("inactive") && written.contains("status 401"), "{written}");
    for secret in [TOKEN, "hunter2", "personal-data", "Z2F0ZXdheTpodW50ZXIy"] {
        assert!(!written.contains(secret), "{secret}: {written}");
    }
}

#[tokio::test]
async fn debug_and_errors_show_nothing_secret() {
    let server = Server::start(Reply::Whole(403, Vec::new(), b"hunter2".to_vec())).await;
    let introspection = introspect(&server).cache_for(Duration::from_secs(30)).build().unwrap();
    let Err(Refusal::Failure(failure)) = introspection.introspect(TOKEN, NOW).await else { panic!("an answer") };
    let source = failure.source().unwrap().to_string();
    server.set(active());
    drop(introspection.introspect(TOKEN, NOW).await);
    let shown = format!("{introspection:?} {failure:?} {failure} {source} {:?}", introspect(&server));
    for secret in [TOKEN, "hunter2", "u1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("1 good"), "{shown}");
}
