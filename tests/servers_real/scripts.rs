//! Scripts of `tests/servers/node-clients`: client libraries that others wrote, and a browser.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::leash::{self, Folder, Leash};
use crate::setup;

/// On a busy machine a browser takes its time.
const LIMIT: Duration = Duration::from_secs(120);

/// One browser at a time, or each would wait for the others with its own clock running.
static BROWSER: Mutex<()> = Mutex::const_new(());

#[derive(Debug)]
/// What a script found out, step by step.
pub(crate) struct Report {
    steps: Vec<Value>,
    log: PathBuf,
}

impl Report {
    /// Returns what the script told of the step `name`; without it the test has failed.
    #[track_caller]
    pub(crate) fn step(&self, name: &str) -> &Value {
        let found = self.steps.iter().find(|step| step["step"] == name);
        found.unwrap_or_else(|| panic!("no step {name} in {:?}: {}", self.steps, leash::last_words(&self.log)))
    }
}

/// Runs a script to its end and returns its report; `None`, after a line that says so, when there is no Node.js.
///
/// - `script`: a file of `tests/servers/node-clients`.
/// - `input`: what the script reads as `input` of `script.mjs`.
///
/// A script that fails or takes two minutes fails the test; whatever it started is killed.
pub(crate) async fn run(test: &str, script: &str, input: Value) -> Option<Report> {
    run_within(test, script, input, LIMIT).await
}

/// Like [`run`], for a script that uses Chromium. Screenshots go to `target/xtask/screenshots`, where `name` begins
/// their names.
pub(crate) async fn browse(test: &str, script: &str, mut input: Value) -> Option<Report> {
    let chromium = setup::variable("SEKISHO_CHROMIUM", test)?;
    input["chromium"] = json!(chromium);
    input["screenshots"] = json!(leash::artefact("screenshots", &file_name(test)));
    let _turn = BROWSER.lock().await;
    run_within(test, script, input, LIMIT).await
}

async fn run_within(test: &str, script: &str, input: Value, limit: Duration) -> Option<Report> {
    let node = setup::variable("SEKISHO_NODE", test)?;
    let packages = setup::variable("SEKISHO_NODE_CLIENTS", test)?;
    let folder = Folder::new();
    // Node.js looks for packages beside the script.
    symlink(Path::new(&packages).join("node_modules"), folder.path().join("node_modules")).expect("a link");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/node-clients");
    for entry in fs::read_dir(scripts).expect("the scripts") {
        let file = entry.expect("a file").path();
        if file.extension().is_some_and(|ending| ending == "mjs") {
            fs::copy(&file, folder.path().join(file.file_name().expect("a name"))).expect("a copy");
        }
    }
    fs::write(folder.path().join("input.json"), input.to_string()).expect("the input is written");
    let name = format!("node--{}", file_name(test));
    let (steps, log) =
        (leash::artefact("logs", &format!("{name}.jsonl")), leash::artefact("logs", &format!("{name}.log")));
    let (output, errors) = (File::create(&steps).expect("a file"), File::create(&log).expect("a log"));
    let mut leash = Leash::start(Path::new(&node), &[script, "input.json"], folder, output, errors);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = leash.ended() {
            break status;
        }
        assert!(begun.elapsed() < limit, "{script} takes too long: {}", leash::last_words(&log));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let told = fs::read_to_string(&steps).expect("what it printed");
    assert!(status.success(), "{script} failed, {status}: {told}\n{}", leash::last_words(&log));
    let steps = told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    Some(Report { steps: steps.collect(), log })
}

fn file_name(test: &str) -> String {
    test.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leash::is_alive;

    #[tokio::test]
    async fn a_browser_shows_a_page_and_notices_what_breaks_its_policy() {
        let input = json!({ "html": "<h1>Good day</h1>" });
        let Some(report) = browse("a browser shows a page", "self-test.mjs", input).await else { return };
        assert_eq!(
            (&report.step("page")["heading"], &report.step("page")["trouble"]),
            (&json!("Good day"), &json!([]))
        );
        let shot = report.step("screenshot")["file"].as_str().unwrap().to_owned();
        assert!(fs::read(shot).unwrap().starts_with(b"\x89PNG"));
        let trouble = report.step("breach")["trouble"].to_string();
        for breach in ["policy: style-src-elem inline", "policy: script-src-elem inline", "console: "] {
            assert!(trouble.contains(breach), "{breach} is not noticed: {trouble}");
        }
    }

    #[tokio::test]
    #[should_panic(expected = "on purpose")]
    async fn a_script_that_fails_fails_the_test_with_its_last_words() {
        let Some(_) = run("a script fails", "self-test.mjs", json!({ "fail": "on purpose" })).await else {
            panic!("on purpose: nothing to run it with")
        };
    }

    #[tokio::test]
    #[should_panic(expected = "takes too long")]
    async fn a_script_that_hangs_is_stopped() {
        let second = Duration::from_secs(1);
        let Some(_) = run_within("a script hangs", "self-test.mjs", json!({ "hang": true }), second).await else {
            panic!("it takes too long to wait for nothing")
        };
    }

    #[tokio::test]
    async fn a_script_takes_its_browser_along_when_it_is_killed() {
        let test = "a killed script";
        let Some(chromium) = setup::variable("SEKISHO_CHROMIUM", test) else { return };
        let (Some(_), Some(_)) = (setup::variable("SEKISHO_NODE", test), setup::variable("SEKISHO_NODE_CLIENTS", test))
        else {
            return;
        };
        let _turn = BROWSER.lock().await;
        let told = leash::artefact("logs", &format!("node--{}.jsonl", file_name(test)));
        let _ = fs::remove_file(&told);
        let input = json!({ "chromium": chromium, "launch": true, "hang": true });
        let run = tokio::spawn(run_within(test, "self-test.mjs", input, LIMIT));
        let line = loop {
            assert!(!run.is_finished(), "{:?}", run.await.err());
            let line = fs::read_to_string(&told).unwrap_or_default();
            if line.ends_with('\n') {
                break line;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let told: Value = serde_json::from_str(line.trim()).unwrap();
        let pid = told["pid"].to_string();
        assert!(is_alive(&pid));
        run.abort();
        for _ in 0..200 {
            if !is_alive(&pid) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the browser, {pid}, is still alive");
    }
}
