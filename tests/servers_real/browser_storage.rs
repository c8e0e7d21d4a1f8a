//! The example `browser-storage`, a program of its own, in a real browser (`browser-storage.mjs`).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::scripts::{self, Report};
use crate::setup;

const PLACES: [&str; 8] =
    ["session", "cookie", "bound", "worker", "memory", "sessionStorage", "localStorage", "readable"];
/// What the documentation calls them.
const NAMES: [&str; 8] = [
    "Server-side session",
    "`HttpOnly` cookie",
    "Bound to a key",
    "Worker",
    "Memory",
    "sessionStorage",
    "localStorage",
    "Readable cookie",
];

/// What the documentation says, which has the tables too.
const DOCUMENTATION: &str = include_str!("../../docs/browser-storage.md");

/// The program, ended when dropped.
struct Example {
    child: Child,
    origins: BTreeMap<String, String>,
}

impl Example {
    fn start() -> Self {
        // Cargo puts this test's program into `deps`, and the examples beside that folder.
        let deps = std::env::current_exe().expect("a path").parent().map(PathBuf::from).expect("a folder");
        let program = deps.with_file_name("examples").join("browser-storage");
        assert!(program.exists(), "{} is not built: cargo build --examples", program.display());
        let child = Command::new(program).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut example = Self { child, origins: BTreeMap::new() };
        let mut lines = BufReader::new(example.child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        while example.origins.len() < 5 {
            let line = lines.next().expect("it says where its pages are");
            let mut words = line.split_whitespace();
            if let (Some(name), Some(url)) = (words.next(), words.next().and_then(|url| url.strip_prefix("http://"))) {
                let host = url.split('/').next().expect("a host");
                example.origins.insert(name.to_lowercase(), format!("http://{host}"));
            }
        }
        // Whoever stops reading ends a program that prints.
        std::thread::spawn(move || lines.for_each(drop));
        example
    }
}

/// Starts the program and goes through its page; `None`, after a line that says so, without a browser.
async fn journey(test: &str, journey: &str) -> Option<(Example, Report)> {
    setup::variable("SEKISHO_CHROMIUM", test)?;
    let example = Example::start();
    let origin = |name: &str| &example.origins[name];
    let input = json!({
        "journey": journey, "shop": origin("shop"), "sibling": origin("sibling"), "stranger": origin("stranger"),
    });
    let report = scripts::browse(test, "browser-storage.mjs", input).await?;
    Some((example, report))
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asserts that the documentation has this row.
fn assert_documented<'c>(place: &str, cells: impl IntoIterator<Item = &'c str>) {
    let at = PLACES.iter().position(|known| *known == place).unwrap();
    let row = [NAMES[at]].into_iter().chain(cells).collect::<Vec<_>>().join(" | ");
    assert!(DOCUMENTATION.lines().any(|line| line == format!("| {row} |")), "docs/browser-storage.md has no row {row}");
}

/// Writes for each place whether it is one of `places`.
fn only(places: &[&str]) -> Value {
    PLACES
        .into_iter()
        .map(|place| (place.to_owned(), json!(if places.contains(&place) { "yes" } else { "no" })))
        .collect()
}

#[tokio::test]
async fn an_injected_script_gets_from_each_place_what_the_table_says() {
    let Some((_, report)) = journey("a script in browser storage", "attacked").await else { return };
    assert_eq!(report.step("before")["here"], only(&[]), "nobody is logged in");
    assert_eq!(report.step("logged in")["here"], only(&PLACES));
    let status = report.step("used")["status"].as_str().unwrap();
    assert_eq!(status.matches(" 200").count(), 8, "the page can use them all: {status}");

    // In this order: the token read, on another computer, acting in the page, a new token, the copy after the logout.
    let hidden = ["no", "nothing to take along", "works", "no", "nothing was taken"];
    let taken = ["yes", "works", "works", "works", "works"];
    let proofs = "refused, 401; with a proof made here works, again refused, 401";
    let wanted = [
        ("session", hidden),
        ("cookie", hidden),
        ("bound", ["the token, not the key", proofs, "works", "for a key of its own, works", "refused, 401"]),
        ("worker", ["no", "nothing to take along", "works", "works", "nothing was taken"]),
        ("memory", ["yes, when the page uses it", "works", "works", "works", "works"]),
        ("sessionStorage", taken),
        ("localStorage", taken),
        ("readable", taken),
    ];
    let told = report.step("attacked");
    for (place, cells) in wanted {
        for (cell, wanted) in ["read", "elsewhere", "within", "anew", "after"].into_iter().zip(cells) {
            assert_eq!(told["cells"][place][cell], wanted, "{place}, {cell}: {told}");
        }
        assert_documented(place, cells);
        assert_eq!(told["cells"][place]["here"], "no", "{place} is forgotten after the logout");
    }
    let picture = told["picture"].as_str().unwrap();
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"));
}

#[tokio::test]
async fn a_comment_that_is_text_and_a_policy_keep_the_script_out() {
    let Some((example, report)) = journey("browser storage unattacked", "held").await else { return };
    let shop = &example.origins["shop"];
    let safe = report.step("/");
    assert!(safe["comment"].as_str().unwrap().contains("onerror="), "it is shown as it was written: {safe}");
    assert_eq!((&safe["attacked"], &safe["trouble"], &safe["asked"]), (&json!(0), &json!([]), &json!([shop])));
    assert!(safe["wide"].as_u64().is_some_and(|wide| wide <= 320), "it fits on a phone: {safe}");
    let held = report.step("/dangerously-unescaped-with-policy");
    assert_eq!(held["comment"], "Great shop! ", "it is no text here: {held}");
    assert_eq!(held["attacked"], 0);
    assert!(held["trouble"].to_string().contains("policy: script-src-attr inline"), "the policy stops it: {held}");
    assert_eq!(held["asked"], json!([shop]), "the stranger is asked nothing: {held}");
}

#[tokio::test]
async fn what_follows_from_each_place_is_as_the_page_says() {
    let Some((_, report)) = journey("browser storage in the long run", "facts").await else { return };
    // What the page says, in the words of what was seen.
    let said = |fact: &str, yes: &str| {
        let said = &report.step("said")["facts"];
        let of = |place: &&str| said[*place][fact] == yes;
        only(&PLACES.into_iter().filter(of).collect::<Vec<_>>())
    };
    for place in PLACES {
        let facts = &report.step("said")["facts"][place];
        let columns = ["reload", "tab", "restart", "sibling", "sibling-form", "stranger-form"];
        assert_documented(place, columns.map(|column| facts[column].as_str().unwrap()));
    }
    assert_eq!(report.step("another tab")["here"], said("tab", "yes"));
    assert_eq!(report.step("reload")["here"], said("reload", "stays"));
    assert_eq!(report.step("restart")["here"], said("restart", "stays"));
    assert_ne!(said("restart", "stays"), said("reload", "stays"), "and the columns differ");

    let sibling = report.step("sibling");
    assert_eq!((&sibling["cookie"], &sibling["came"]), (&json!("wide=1"), &json!("wide")), "only what has a domain");
    let stranger = report.step("stranger");
    assert_eq!((&stranger["cookie"], &stranger["came"]), (&json!(""), &json!("none")));
    for place in [sibling, stranger] {
        assert_eq!((&place["storage"], &place["databases"]), (&json!(0), &json!(0)), "another origin: {place}");
    }
    assert_eq!(said("sibling", "yes"), only(&[]));

    let cookies = json!(["__Host-readable", "__Host-session", "__Host-token"]);
    let forms = &report.step("forms of the sibling")["forms"];
    for (button, status) in [
        ("JWT in a cookie, checkpoint alone", 200),
        ("JWT in a cookie", 403),
        ("JWT in a readable cookie", 403),
        ("Session", 403),
        ("JWT in a header", 401),
    ] {
        assert_eq!(forms[button], json!({ "status": status, "sent": cookies }), "{button}: {forms}");
    }
    assert_eq!(said("sibling-form", "yes"), only(&["session", "cookie", "readable"]));
    let forms = &report.step("forms of the stranger")["forms"];
    for (button, status) in [
        ("JWT in a cookie, checkpoint alone", 401),
        ("JWT in a cookie", 403),
        ("JWT in a readable cookie", 403),
        ("Session", 403),
        ("JWT in a header", 401),
    ] {
        assert_eq!(forms[button], json!({ "status": status, "sent": [] }), "{button}: {forms}");
    }
    assert_eq!(said("stranger-form", "yes"), only(&[]));
}
