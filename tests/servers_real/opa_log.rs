//! An OPA that has a bundle and logs its decisions: what our client reads of both, and our own log beside OPA's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize as _, Resource};
use sekisho_policy::record::{DecisionRecord, DecisionSink, NotRecorded, Recorded};
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::opa::Opa as Asks;
use serde_json::Value;

use crate::opa::Opa;
use crate::policy_bundle::{Folder, build};
use crate::setup::{now, variable};

/// Orders are read; anything else is a contradiction.
const REGO: &str = r#"package shop

decision := {"allow": true, "reasons": ["orders"]} if input.action.name == "read"

decision := true if input.action.name == "write"

decision := false if input.action.name == "write"
"#;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<DecisionRecord>>>);

impl DecisionSink for Kept {
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded> {
        self.0.lock().expect("no panic").push(record.clone());
        Ok(())
    }
}

/// Waits for so many decisions in OPA's log.
async fn logged(opa: &mut Opa, count: usize) -> Vec<Value> {
    let (log, begun) = (opa.process().log(), Instant::now());
    loop {
        let text = std::fs::read_to_string(&log).expect("a log");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| line["msg"] == "Decision Log").collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{count} decisions in {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Lists the members of a line with their types.
fn shape(line: &Value) -> BTreeMap<&str, &'static str> {
    line.as_object().expect("an object").iter().map(|(name, value)| (name.as_str(), kind(value))).collect()
}

#[tokio::test]
async fn a_decision_has_the_id_of_opas_log_and_the_revision_of_its_bundle_and_our_line_has_the_form_of_opas() {
    let test = "OPA's log";
    let Some(program) = variable("SEKISHO_OPA", test).map(PathBuf::from) else { return };
    let folder = Folder::new("logged");
    folder.write("source/shop/policy.rego", REGO);
    folder.write("source/.manifest", r#"{"revision": "r7", "roots": ["shop"]}"#);
    let bundle = folder.write("served.tar.gz", build(&program, &folder, &[]));
    let arguments = ["--set=decision_logs.console=true", "--bundle", &bundle];
    let Some(mut opa) = Opa::private_with(test, &arguments).await else { return };

    let asks = Asks::at(opa.url(), "shop/decision").expect("an address");
    let remote = Remote::builder(asks).with_deadline(Duration::from_secs(5)).without_cache().build();
    let kept = Kept::default();
    let remote = Recorded::new(remote.expect("a decider")).to(kept.clone());
    let alice = PrincipalBuilder::new("https://id.example", "alice").with_client("shop").build().expect("a principal");
    let ask = |action| AccessRequest::new(&alice, action, Resource::new("order", "42"), now());
    let decision = remote.decide(&ask("read")).await.expect("a decision");
    assert!(decision.is_permitted());
    assert_eq!(decision.revision(), Some("r7"));
    let lines = logged(&mut opa, 1).await;
    assert_eq!((lines.len(), lines[0]["decision_id"].as_str()), (1, decision.id()));
    assert_eq!(lines[0]["result"]["allow"], true);
    // What was asked is what our own log says was asked.
    assert_eq!(lines[0]["input"]["subject"]["id"], "alice");
    assert!(remote.decide(&ask("write")).await.is_err());

    let theirs = logged(&mut opa, 2).await;
    let ours: Vec<Value> = kept.0.lock().expect("no panic").iter().map(|one| one.to_opa_json()).map(read).collect();
    assert_eq!((theirs.len(), ours.len()), (2, 2));
    assert_eq!(ours[0]["decision_id"], theirs[0]["decision_id"]);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let (mut own, mut their) = (shape(ours), shape(theirs));
        // These are of the line on the console, not of the event.
        for name in ["level", "msg", "time", "type"] {
            assert!(their.remove(name).is_some(), "{name}");
        }
        // The console has the text of an error, what is sent to a server its code and message, as ours.
        if their.get("error") == Some(&"string") {
            their.insert("error", "object");
            assert!(ours["error"]["code"].is_string() && ours["error"]["message"].is_string());
            // Whoever has no answer knows no revision.
            own.insert("bundles", "object");
        }
        assert_eq!(own, their);
        for time in [&ours["timestamp"], &theirs["timestamp"]] {
            let time = time.as_str().expect("a text");
            assert!(time.len() > 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z'), "{time}");
        }
        assert!(
            ours["metrics"]["timer_server_handler_ns"].is_u64()
                && theirs["metrics"]["timer_server_handler_ns"].is_u64()
        );
        assert_eq!(
            (kind(&ours["path"]), kind(&theirs["input"]["subject"])),
            ("string", kind(&ours["input"]["subject"]))
        );
    }
    let revisions = |line: &Value| -> Vec<Value> {
        line["bundles"].as_object().expect("bundles").values().map(|one| one["revision"].clone()).collect()
    };
    assert_eq!((revisions(&ours[0]), revisions(&theirs[0])), (vec!["r7".into()], vec!["r7".into()]));
}

fn read(line: String) -> Value {
    serde_json::from_str(&line).expect("JSON")
}
