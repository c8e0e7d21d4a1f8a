//! What costs memory, and how much. Alone in their binary and one at a time, for they count what the whole process allocates.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize, Resource, UnixSeconds, role, scope};
use sekisho_policy::combine::{
    Branch, all_must_permit, canary, deny_if, deny_overrides, fallback, first_applicable, local_then_remote, permit_if,
    permit_overrides,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn combinators_around_rules_that_answer_at_once_allocate_nothing() {
    let _turn = turn();
    let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("read").build().unwrap();
    // A write, of which a fallback remembers nothing.
    let request = AccessRequest::new(&alice, "write", Resource::new("order", "42"), UnixSeconds::new(1));
    let read = || scope("read");
    let tree = deny_overrides([
        deny_if(role("suspended")),
        permit_if(read()),
        Branch::from(first_applicable([deny_if(role("suspended")), Branch::from(read())])),
        Branch::from(permit_overrides([role("admin"), read()])).named("who may"),
        Branch::from(local_then_remote(read(), all_must_permit([read(), read()]))),
        Branch::from(canary(500, read(), read()).unwrap()),
        Branch::from(fallback(read()).reads(["read"]).build().unwrap()),
    ]);
    // The rules themselves: a denial of a scope counts a reference and no more.
    assert!(tree.decide_now(&request).unwrap().unwrap().is_permitted());
    // The harness allocates in threads of its own now and then; what is ours happens each time.
    let least = (0..20)
        .map(|_| {
            let region = Region::new(GLOBAL);
            for _ in 0..100 {
                assert!(tree.decide_now(&request).is_some_and(|outcome| outcome.is_ok_and(|one| one.is_permitted())));
            }
            region.change().allocations
        })
        .min();
    assert_eq!(least, Some(0));
}

/// Returns how many bytes were allocated meanwhile, given back or not: no less than were held at any time.
#[cfg(any(feature = "decision-point", feature = "bundle"))]
fn allocated(work: impl FnOnce()) -> usize {
    let region = Region::new(GLOBAL);
    work();
    // What grows counts by how much it does.
    region.change().bytes_allocated
}

#[cfg(feature = "decision-point")]
mod decision_point {
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use sekisho_core::owner;
    use sekisho_policy::decision_point::DecisionPoint;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn status(router: &Router, body: &str) -> u16 {
        let request = Request::post("/access/v1/evaluations").header("content-type", "application/json");
        let response = router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        response.status().as_u16()
    }

    /// A batch as large as may be, of so many items that take all from around them.
    fn batch(bytes: usize, items: usize, pad: impl Fn(usize) -> Value) -> String {
        let items = vec![json!({}); items];
        let body = |pad: Value| {
            json!({
                "subject": { "type": "user", "id": "alice", "properties": pad },
                "action": { "name": "read" },
                "resource": { "type": "order", "id": "1", "properties": { "owner": "alice" } },
                "evaluations": items,
            })
            .to_string()
        };
        let bare = body(pad(0)).len();
        body(pad(bytes - bare))
    }

    #[test]
    fn no_question_to_a_decision_point_takes_more_memory_than_is_stated() {
        let _turn = turn();
        let point = DecisionPoint::builder(owner("owner")).with_subjects("user", "https://id.example");
        let router = point.open_to_everybody().build().unwrap().into_router();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = |bytes: usize| json!({ "x": "x".repeat(bytes) });
        let members = |bytes: usize| (0..bytes / 10).map(|number| (format!("{number:05}"), json!(1))).collect();
        let short = |bytes: usize| (0..bytes / 9).map(|number| (format!("{number:x}"), json!(1))).collect();
        let full = 255 << 10;
        let many = format!(r#"{{"evaluations":[{}7]}}"#, "7,".repeat(full / 2));
        for (what, body, expected) in [
            ("one item", batch(full, 1, text), 200),
            ("four items", batch(full, 4, text), 200),
            ("a hundred items that would be as many copies", batch(full, 100, text), 413),
            ("a hundred small ones", batch(10_000, 100, text), 200),
            ("many members", batch(full, 4, members), 200),
            ("many short ones", batch(full, 4, short), 200),
            ("a hundred times many members", batch(10_000, 100, members), 200),
            ("more items than are taken", many, 400),
        ] {
            let mut got = 0;
            let bytes = allocated(|| got = runtime.block_on(status(&router, &body)));
            println!("{what}: {bytes} bytes for a request of {}", body.len());
            assert_eq!(got, expected, "{what}");
            assert!(bytes < 16 << 20, "{what}: {bytes}");
        }
    }
}

#[cfg(feature = "bundle")]
mod bundle {
    use std::io::Write as _;

    use sekisho_policy::bundle::BundleReader;

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar.into_inner().unwrap()).unwrap();
        encoder.finish().unwrap()
    }

    /// All of the data lies at the bottom, and each level above it is outside of every root.
    #[test]
    fn data_is_gone_through_once_however_deep_its_roots_are() {
        let _turn = turn();
        let roots: Vec<String> = (0..100).map(|number| format!("{}r{number}", "a/".repeat(29))).collect();
        let manifest = serde_json::json!({ "roots": roots }).to_string();
        let (start, end) = (r#"{"a":"#.repeat(29), "}".repeat(29));
        let data = format!("{start}{{\"r7\":\"{}\"}}{end}", "x".repeat(512 << 10));
        let bundle = archive(&[(".manifest", &manifest), ("data.json", &data)]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reader = BundleReader::dangerous_unsigned();
        let bytes = allocated(|| {
            let files = runtime.block_on(reader.read(&bundle, UnixSeconds::new(1))).unwrap();
            assert_eq!(files.get("data.json").map(<[u8]>::len), Some(data.len()));
        });
        println!("{bytes} bytes for data of {}", data.len());
        assert!(bytes < 8 * data.len(), "{bytes}");
    }
}
