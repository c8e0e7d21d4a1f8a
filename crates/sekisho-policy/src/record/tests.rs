use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Decision, Failure, Obligation, Principal, Resource, UnixSeconds, scope};
use sekisho_testkit::LogRecorder;
use serde_json::Value;

use super::*;

const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<DecisionRecord>>>);

impl DecisionSink for Kept {
    fn record(&self, record: &DecisionRecord) -> Result<(), NotRecorded> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

struct Refuses;

impl DecisionSink for Refuses {
    fn record(&self, _: &DecisionRecord) -> Result<(), NotRecorded> {
        Err(NotRecorded::Full)
    }
}

struct Says(Result<Decision, Failure>);

#[async_trait::async_trait]
impl Authorize for Says {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(self.0.clone())
    }

    async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.0.clone()
    }
}

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice")
        .with_scope("read")
        .with_client("shop")
        .with_claim("jti", "t1")
        .with_claim("email", "alice@example.com")
        .with_claim("act", JWT)
        .build()
        .unwrap()
}

fn ask<'a>(subject: &'a Principal, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(subject, "read", Resource::new("order", id), UnixSeconds::new(1))
}

/// Is a folder of this test alone, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sekisho-policy-{}", recorded::random_id().unwrap()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line))).collect()
}

#[test]
fn a_line_has_the_members_of_opas_decision_log() {
    let folder = Folder::new();
    let path = folder.0.join("decisions.log");
    let (log, mut writer) = DecisionLog::builder(&path).with_label("app", "orders").build().unwrap();
    let decision = Decision::permit()
        .with_id("d-1")
        .with_revision("r7")
        .with_reason("p1")
        .with_obligation(Obligation::new("redact"));
    let context = JsonObject::parse(br#"{"ip":"192.0.2.1","secret":"s3cret","deep":{"a":1}}"#.to_vec()).unwrap();
    let alice = alice();
    let recorded = Recorded::new(Says(Ok(decision))).to(log.clone()).with_context(["ip", "deep", "absent"]);
    recorded.decide_now(&ask(&alice, "42").with_context(&context)).unwrap().unwrap();
    let failed = Recorded::new(Says(Err(Failure::unavailable("down")))).to(log.clone());
    failed.decide_now(&ask(&alice, "43")).unwrap().unwrap_err();
    assert_eq!((writer.write_pending(), log.counts().written), (2, 2));
    let [line, error] = &lines(&path)[..] else { panic!("two lines") };
    assert_eq!(line["labels"]["app"], "orders");
    assert_eq!((&line["decision_id"], &line["path"]), (&"d-1".into(), &"sekisho/decision".into()));
    assert_eq!(line["input"]["subject"]["id"], "alice");
    assert_eq!(line["input"]["subject"]["token_id"], "t1");
    assert_eq!(line["input"]["resource"]["id"], "42");
    assert_eq!(line["input"]["context"], serde_json::json!({ "ip": "192.0.2.1", "deep": "(left out)" }));
    assert_eq!(line["result"]["decision"], true);
    assert_eq!(line["result"]["obligations"], serde_json::json!(["redact"]));
    assert_eq!(line["bundles"]["sekisho"]["revision"], "r7");
    // In OPA's log that would be the caller's address, which is not known here.
    assert_eq!((line.get("requested_by"), &line["input"]["subject"]["client_id"]), (None, &"shop".into()));
    assert!(line["metrics"]["timer_server_handler_ns"].is_u64() && line["timestamp"].is_string());
    assert_eq!((error.get("result"), &error["error"]["message"]), (None, &"down".into()));
    assert_eq!(error["decision_id"].as_str().unwrap().len(), 32);
}

/// Holds an array for each name: as much as a record takes, and three times as long in a line as here.
fn bloated(names: &[String], text: &str) -> JsonObject {
    let members: Vec<(&String, Vec<&str>)> = names.iter().map(|name| (name, vec![text; 16])).collect();
    JsonObject::from_serialize(&members.into_iter().collect::<std::collections::BTreeMap<_, _>>()).unwrap()
}

#[test]
fn nobody_keeps_a_decision_out_of_the_log_by_what_comes_with_the_question() {
    let folder = Folder::new();
    let path = folder.0.join("decisions.log");
    let (log, mut writer) = DecisionLog::builder(&path).build().unwrap();
    let trace = LogRecorder::default();
    let names: Vec<String> = (0..32).map(|number| format!("m{number}")).collect();
    let hostile = "\u{85}".repeat(120);
    let bloated = bloated(&names, &hostile);
    let mallory = PrincipalBuilder::new("https://id.example", "alice").with_scope("read");
    let mallory = names.iter().fold(mallory, |all, name| all.with_claim(name, vec![hostile.as_str(); 16]));
    let mallory = mallory.build().unwrap();
    let strict = Recorded::new(scope("read")).to(log.clone()).to(TracingSink).with_required_record();
    let named = || names.iter().map(|name| &**name);
    let strict = strict.with_context(named()).with_attributes(named()).with_claims(named());
    let request = AccessRequest::new(
        &mallory,
        "read",
        Resource::new("order", "42").with_attributes(&bloated),
        UnixSeconds::new(1),
    )
    .with_context(&bloated);
    tracing::subscriber::with_default(trace.clone(), || {
        assert!(strict.decide_now(&request).unwrap().unwrap().is_permitted());
    });
    // One with a little context keeps it.
    let alice = alice();
    let small = JsonObject::parse(br#"{"m1":"192.0.2.1"}"#.to_vec()).unwrap();
    strict.decide_now(&ask(&alice, "43").with_context(&small)).unwrap().unwrap();
    writer.write_pending();
    assert_eq!((log.counts().written, log.counts().lost), (2, 0));
    assert!(hostile.len() * 16 * 3 * names.len() * 3 > 500_000, "else there is nothing to leave out");
    let [large, kept] = &lines(&path)[..] else { panic!("two lines") };
    assert_eq!(
        large["erased"],
        serde_json::json!(["/input/context", "/input/resource/properties", "/input/subject/claims"])
    );
    for (pointer, value) in [
        ("/input/subject/id", "alice"),
        ("/input/action/name", "read"),
        ("/input/resource/id", "42"),
        ("/result/effect", "permit"),
    ] {
        assert_eq!(large.pointer(pointer), Some(&value.into()), "{pointer}");
    }
    for pointer in ["/input/context", "/input/resource/properties", "/input/subject/claims"] {
        assert_eq!(large.pointer(pointer), None, "{pointer}");
    }
    assert_eq!((&kept["input"]["context"]["m1"], kept.get("erased")), (&"192.0.2.1".into(), None));
    let event = trace.text();
    assert!(event.contains("(left out)") && event.contains("alice") && event.len() < 4096, "{}", event.len());
}

#[test]
fn whatever_a_record_holds_fits_on_its_line() {
    let folder = Folder::new();
    let long = |times: usize| "\u{85}\u{1}".repeat(times);
    let path = folder.0.join("decisions.log");
    let label = "x".repeat(4000);
    let (log, mut writer) = DecisionLog::builder(&path).with_label("app", &label).build().unwrap();
    // Every text as long as it can be, and each of its characters as long in JSON.
    let text = long(200);
    let outcome = |effect: Decision| -> Result<Decision, Failure> {
        let effect = effect.with_id(&*text).with_revision(&*text);
        Ok((0..20).fold(effect, |all, _| all.with_reason(&*text).with_obligation(Obligation::new(&*text))))
    };
    let mallory = PrincipalBuilder::new(&*text, &*text).with_client(&text).with_claim("jti", text.as_str());
    let mallory = mallory.build().unwrap();
    let request =
        AccessRequest::new(&mallory, &text, Resource::new(&text, &text), UnixSeconds::new(1)).with_subject_kind(&text);
    let allowed = Allowed::default();
    let record = DecisionRecord::new(&request, &outcome(Decision::permit()), &text, Duration::MAX, &allowed)
        .with_candidate(&outcome(Decision::not_applicable()));
    log.record(&record).unwrap();
    writer.write_pending();
    let line = std::fs::read_to_string(&path).unwrap();
    assert!(line.len() <= 64 << 10, "{}", line.len());
    let line: Value = serde_json::from_str(&line).unwrap();
    let erased = ["/candidate/reasons", "/candidate/obligations", "/result/reasons", "/result/obligations"];
    assert_eq!(line["erased"], serde_json::json!(erased));
    assert_eq!((&line["result"]["effect"], &line["candidate"]["effect"]), (&"permit".into(), &"not_applicable".into()));
    let id = line["input"]["subject"]["id"].as_str().unwrap();
    assert!(id.starts_with("\u{85}\u{1}") && id.ends_with('…'));
    assert!(record.to_opa_json().len() < 64 << 10);
    let labelled = DecisionLog::builder(folder.0.join("x")).with_label("a", long(400));
    assert!(labelled.build().is_err(), "longer in a line than here");
}

#[test]
fn timestamps_are_rfc_3339() {
    for (seconds, nanos, expected) in [
        (0, 0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
        (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
        (951_868_800, 0, "2000-03-01T00:00:00.000000000Z"),
        (1_700_000_000, 5_000_000, "2023-11-14T22:13:20.005000000Z"),
        (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
    ] {
        assert_eq!(opa::timestamp(UNIX_EPOCH + Duration::new(seconds, nanos)), expected);
    }
}

#[test]
fn neither_tokens_nor_what_was_not_named_nor_control_characters_reach_a_log() {
    let log = LogRecorder::default();
    let kept = Kept::default();
    let alice = alice();
    let hostile = "a\nforged line\u{1b}[2J\u{202e}\u{85}";
    let recorded = Recorded::new(scope("read")).to(TracingSink).to(kept.clone()).with_claims(["act"]);
    let token_in_id = format!("x/{JWT}?y");
    let long_then_token = format!("{}{JWT}", "x".repeat(300));
    tracing::subscriber::with_default(log.clone(), || {
        for id in [hostile, &token_in_id, &long_then_token, &"é".repeat(5000)] {
            recorded.decide_now(&ask(&alice, id)).unwrap().unwrap();
        }
    });
    let mut text = log.text();
    assert_eq!(text.lines().count(), 4, "{text}");
    for record in kept.0.lock().unwrap().iter() {
        let json = record.to_opa_json();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["input"]["subject"]["claims"]["act"], "(masked)");
        assert!(json.len() < 1500);
        text.push_str(&json);
    }
    for absent in ["eyJ", "c2lnbmF0", "alice@example.com", "\u{1b}", "\u{202e}", "\u{85}"] {
        assert!(!text.contains(absent), "{absent:?} in {text}");
    }
    assert!(text.contains("(masked)") && text.contains("alice") && text.contains("permit"));
    assert_eq!(kept.0.lock().unwrap()[0].resource_id(), hostile);
}

/// An opaque token has no form of its own: it is known by what announces it, or not at all.
#[test]
fn an_opaque_token_reaches_no_log_where_something_says_that_it_is_one() {
    const OPAQUE: &str = "a3f9-Zk27_qLm81xTw0";
    let alice = PrincipalBuilder::new("https://id.example", "alice")
        .with_claim("header", format!("bearer  {OPAQUE}"))
        .with_claim("list", serde_json::json!(["plain", format!("DPoP {OPAQUE}")]))
        .build()
        .unwrap();
    let context = JsonObject::from_serialize(&serde_json::json!({
        "url": format!("/x?a=b&Access_Token={OPAQUE}"),
        "proxy": format!("Basic {OPAQUE}"),
        "plan": "basic plan for the bearer of bad news, password reset",
        "token": OPAQUE,
    }));
    let context = context.unwrap();
    let kept = Kept::default();
    let because = Decision::permit().with_reason(format!("introspected client_secret={OPAQUE}"));
    let recorded = Recorded::new(Says(Ok(because))).to(kept.clone());
    let recorded = recorded.with_claims(["header", "list"]).with_context(["url", "proxy", "plan"]);
    let id = format!("/callback?id_token={OPAQUE}");
    recorded.decide_now(&ask(&alice, &id).with_context(&context)).unwrap().unwrap();
    let log = LogRecorder::default();
    let failing = Recorded::new(Says(Err(Failure::unavailable("down").with_source(format!("Bearer {OPAQUE}")))));
    let failing = failing.to(kept.clone()).to(TracingSink);
    tracing::subscriber::with_default(log.clone(), || failing.decide_now(&ask(&alice, &id)).unwrap().unwrap_err());
    let records = kept.0.lock().unwrap();
    let lines: Vec<String> = records.iter().map(DecisionRecord::to_opa_json).collect();
    for text in lines.iter().chain([&log.text()]) {
        assert!(!text.contains(OPAQUE) && text.contains("(masked"), "{text}");
    }
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["input"]["context"]["plan"], "basic plan for the bearer of bad news, password reset");
    assert_eq!(line["input"]["subject"]["claims"]["list"], serde_json::json!(["plain", "(masked)"]));
    assert_eq!(line["input"]["context"].get("token"), None, "it was not named");
}

/// Whoever chooses her own name must not hide her decisions by it.
#[test]
fn a_secret_in_an_id_hides_no_more_of_it_than_itself() {
    let kept = Kept::default();
    let recorded = Recorded::new(scope("read")).to(kept.clone());
    let long = format!("/{}?code=abc", "x".repeat(300));
    let mallory = PrincipalBuilder::new("https://id.example", "mallory/password=1@x.org").with_client("api_key=k");
    let mallory = mallory.with_claim("jti", JWT).build().unwrap();
    for id in ["/orders/42?token=abcdef&x=y", JWT, &long] {
        recorded.decide_now(&ask(&mallory, id)).unwrap().unwrap();
    }
    let records = kept.0.lock().unwrap();
    let [query, token, long] = &records[..] else { panic!("three records") };
    assert_eq!(query.subject(), "mallory/password=(masked 7)");
    assert_eq!(query.client(), Some("api_key=(masked 1)"));
    assert_eq!((query.token_id(), token.resource_id()), (Some("(masked 54)"), "(masked 54)"));
    assert_eq!(query.resource_id(), "/orders/42?token=(masked 6)&x=y");
    assert!(long.resource_id().starts_with("/xxx") && long.resource_id().len() < 264, "{}", long.resource_id());
}

#[test]
fn nobody_forges_a_field_of_an_event() {
    let log = LogRecorder::default();
    let mallory = PrincipalBuilder::new("https://id.example", "mallory effect=deny").with_client("a b=c");
    let mallory = mallory.with_scope("read").with_claim("jti", "j\" effect=\"deny").build().unwrap();
    let because = Decision::permit().with_reason("x effect=deny").with_revision("r 1=2");
    let recorded = Recorded::new(Says(Ok(because))).to(TracingSink);
    tracing::subscriber::with_default(log.clone(), || {
        recorded.decide_now(&ask(&mallory, "42 effect=deny")).unwrap().unwrap();
    });
    let text = log.text();
    for field in [
        r#" subject="mallory effect=deny""#,
        r#" client="a b=c""#,
        r#" token_id="j\" effect=\"deny""#,
        r#" resource_id="42 effect=deny""#,
        r#" reasons="x effect=deny""#,
        r#" revision="r 1=2""#,
        r#" effect="permit""#,
    ] {
        assert!(text.contains(field), "{field} in {text}");
    }
}

#[test]
fn each_decision_has_an_id_and_keeps_the_one_that_it_had() {
    let kept = Kept::default();
    let alice = alice();
    let recorded = Recorded::new(scope("read")).to(kept.clone());
    let ids: Vec<String> =
        (0..2).map(|_| recorded.decide_now(&ask(&alice, "1")).unwrap().unwrap().id().unwrap().to_owned()).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 32));
    let records: Vec<String> = kept.0.lock().unwrap().iter().map(|one| one.decision_id().to_owned()).collect();
    assert_eq!(records, ids);
}

#[test]
fn without_a_required_record_a_lost_one_changes_nothing_and_with_it_there_is_no_permit() {
    let alice = alice();
    let request = ask(&alice, "1");
    let lossy = Recorded::new(scope("read")).to(Refuses).to(Kept::default()).to(Refuses);
    assert_eq!(lossy.lost(), 0);
    for lost in [2, 4] {
        assert!(lossy.decide_now(&request).unwrap().unwrap().is_permitted());
        assert_eq!(lossy.lost(), lost, "one of each sink that did not take it");
    }
    for strict in [
        Recorded::new(scope("read")).to(Kept::default()).to(Refuses).with_required_record(),
        Recorded::new(scope("read")).with_required_record(),
    ] {
        assert!(strict.decide_now(&request).unwrap().is_err());
    }
    let denied = Recorded::new(scope("write")).to(Refuses).with_required_record();
    assert!(!denied.decide_now(&request).unwrap().unwrap().is_permitted(), "a denial needs no record to hold");
    let kept = Recorded::new(scope("read")).to(Kept::default()).with_required_record();
    assert!(kept.decide_now(&request).unwrap().unwrap().is_permitted());
}

#[test]
fn a_full_queue_loses_records_counts_them_and_permits_nothing_where_they_are_required() {
    let folder = Folder::new();
    let (log, mut writer) = DecisionLog::builder(folder.0.join("log")).with_queue(2, 1 << 20).build().unwrap();
    let alice = alice();
    let strict = Recorded::new(scope("read")).to(log.clone()).with_required_record();
    let outcomes: Vec<bool> = (0..4).map(|_| strict.decide_now(&ask(&alice, "1")).unwrap().is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, false]);
    assert_eq!((log.counts().lost, writer.write_pending()), (2, 2));
    assert!(strict.decide_now(&ask(&alice, "1")).unwrap().is_ok());
    drop(writer);
    assert!(strict.decide_now(&ask(&alice, "1")).unwrap().is_err(), "nobody writes any more");
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_counted_and_ends_permits_that_need_a_record() {
    let folder = Folder::new();
    let path = folder.0.join("log");
    // Each line begins a new file; where a folder stands in the way, none can be begun.
    let (log, mut writer) = DecisionLog::builder(&path).with_files(64 << 10, 2).build().unwrap();
    let alice = alice();
    let long = "x".repeat(250);
    let strict = Recorded::new(scope("read")).to(log.clone()).with_required_record();
    let trace = LogRecorder::default();
    std::fs::create_dir_all(folder.0.join("log.1/in the way")).unwrap();
    tracing::subscriber::with_default(trace.clone(), || {
        for _ in 0..2 {
            for _ in 0..200 {
                let _ = strict.decide_now(&ask(&alice, &long));
            }
            writer.write_pending();
        }
    });
    assert!(log.counts().failed > 0, "{:?}", log.counts());
    assert_eq!(trace.text().matches("cannot be written").count(), 1, "{}", trace.text());
    assert!(strict.decide_now(&ask(&alice, "1")).unwrap().is_err());
    std::fs::remove_dir_all(folder.0.join("log.1")).unwrap();
    writer.write_pending();
    assert!(strict.decide_now(&ask(&alice, "1")).unwrap().is_ok(), "it is written again");
}

#[test]
fn files_are_rotated_within_their_bounds_and_belong_to_their_owner_alone() {
    let folder = Folder::new();
    let path = folder.0.join("log");
    std::fs::write(&path, "{\"torn\":").unwrap();
    let (log, mut writer) = DecisionLog::builder(&path).with_files(64 << 10, 3).build().unwrap();
    let alice = alice();
    let long = "x".repeat(250);
    let recorded = Recorded::new(scope("read")).to(log.clone());
    recorded.decide_now(&ask(&alice, "1")).unwrap().unwrap();
    writer.write_pending();
    // What a process left unfinished stays on a line of its own.
    assert!(lines(&path)[0].is_string() && lines(&path)[1].is_object());
    for _ in 0..600 {
        recorded.decide_now(&ask(&alice, &long)).unwrap().unwrap();
    }
    writer.write_pending();
    assert_eq!(log.counts().written, 601);
    let mut names: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|one| one.unwrap().path()).collect();
    names.sort();
    assert_eq!(names, ["log", "log.1", "log.2"].map(|name| folder.0.join(name)));
    for name in names {
        let found = std::fs::metadata(&name).unwrap();
        assert!(found.len() <= 64 << 10, "{}", found.len());
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777, 0o600);
        assert!(lines(&name).iter().all(Value::is_object));
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&path, folder.0.join("link")).unwrap();
        assert!(DecisionLog::builder(folder.0.join("link")).build().is_err(), "a link");
    }
    assert!(DecisionLog::builder(&folder.0).build().is_err(), "a folder");
    assert!(DecisionLog::builder(folder.0.join("x")).with_queue(0, 1 << 20).build().is_err());
    assert!(DecisionLog::builder(folder.0.join("x")).with_files(1024, 2).build().is_err());
    assert!(DecisionLog::builder(folder.0.join("x")).with_label("a", "b".repeat(5000)).build().is_err());
}

#[tokio::test]
async fn the_writer_writes_all_before_it_ends() {
    for by_shutdown in [false, true] {
        let folder = Folder::new();
        let path = folder.0.join("log");
        let (log, writer) = DecisionLog::builder(&path).build().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(writer.run_until(async move {
            let _ = stopped.await;
        }));
        let recorded = Recorded::new(scope("read")).to(log.clone());
        for _ in 0..500 {
            recorded.decide(&ask(&alice(), "1")).await.unwrap();
        }
        if by_shutdown {
            stop.send(()).unwrap();
        } else {
            drop((recorded, log));
            std::mem::forget(stop);
        }
        tokio::time::timeout(Duration::from_secs(20), writing).await.expect("it ends").unwrap();
        assert_eq!(lines(&path).len(), 500);
    }
}
