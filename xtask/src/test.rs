//! `cargo xtask test`: the table of steps, from the cheap to the dear, with the servers beside the build.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;

use crate::gates;
use crate::layout::Layout;
use crate::perform;
use crate::process::{self, Invocation};
use crate::progress::{Line, Screen};
use crate::servers::{self, Servers};
use crate::steps::{Step, Verdict};
use crate::summary::Summary;
use crate::tools::{DENY, FUZZ};

/// Seconds per fuzz target.
const FUZZ_SECONDS: u32 = 10;

pub(crate) fn run(layout: &Layout, fast: bool) -> Result<ExitCode> {
    let scratch = layout.scratch()?;
    let screen = Screen::new();
    let mut summary = Summary::new(layout, &screen);
    let skipped = scratch.path().join("skipped");
    fs::write(&skipped, "")?;

    // Before anything else fills the disk, or fails for lack of it.
    summary.run(Step::new("room", move |layout, log, line| Ok(Verdict::passed(gates::room(layout, log, line, fast)?))));
    if summary.has_failed() {
        return Ok(summary.finish());
    }
    let mut later = without_servers(layout, fast).into_iter();
    let servers = thread::scope(|scope| {
        let starting = (!fast).then(|| scope.spawn(|| Servers::start(layout, scratch.path(), &screen)));
        for step in beside_the_servers(layout) {
            summary.run(step);
        }
        // To install all of them takes minutes, once; what needs none is done meanwhile.
        while starting.as_ref().is_some_and(|thread| !thread.is_finished())
            && let Some(rows) = later.next()
        {
            summary.run_beside(rows);
        }
        starting.and_then(|thread| thread.join().ok())
    });
    judge_servers(&mut summary, servers.as_ref(), fast);
    summary.run(Step::tests("tests", tests(layout, &skipped, servers.as_ref())));
    // Keycloak takes half a gigabyte and a part of each core from what follows.
    drop(servers);

    for rows in later {
        summary.run_beside(rows);
    }
    forget_build(layout, "shuttle");
    if fast {
        summary.skip("fuzz targets: left out by --fast");
        summary.skip("benches: left out by --fast");
    } else {
        summary.run_beside(fuzz(layout));
        forget_build(layout, "fuzz");
        for step in benches(layout)? {
            summary.run(step);
        }
    }
    for line in fs::read_to_string(&skipped)?.lines().filter(|line| !line.trim().is_empty()) {
        summary.skip(line.trim_start_matches("skipped: "));
    }
    Ok(summary.finish())
}

/// Removes what was built apart from the rest and is needed no more, where nobody builds on it later: all of them together
/// fill a small disk.
fn forget_build(layout: &Layout, folder: &str) {
    if !servers::required() {
        return;
    }
    for entry in fs::read_dir(layout.target.join(folder)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // What the fuzzers found stays.
        let is_build = name
            .to_str()
            .is_some_and(|name| matches!(name, "debug" | "release") || name.starts_with(env::consts::ARCH));
        if is_build {
            // What cannot be removed says nothing of the project.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn cargo(layout: &Layout, line: &str) -> Invocation {
    Invocation::parse(line).folder(&layout.root)
}

fn beside_the_servers(layout: &Layout) -> Vec<Step> {
    vec![
        Step::check("format", format),
        Step::check("oldest compiler", gates::oldest_compiler),
        Step::check("default graph", gates::default_graph),
        Step::check("plain build", gates::plain_build),
        Step::passes("build", cargo(layout, "cargo test --workspace --all-features --no-run")),
    ]
}

/// Checks the format of the workspace and of the two that lie apart from it.
fn format(layout: &Layout, log: &Path, line: &Line) -> Result<String> {
    let mut done = 0;
    for manifest in ["Cargo.toml", "benches/Cargo.toml", "fuzz/Cargo.toml"] {
        if layout.root.join(manifest).exists() {
            let format = cargo(layout, "cargo fmt --all --check --manifest-path").arg(manifest).args(["--", "-l"]);
            process::must(&format, log, line, &|| None)?;
            done += 1;
        }
    }
    Ok(format!("{done} workspaces"))
}

fn judge_servers(summary: &mut Summary<'_>, servers: Option<&Servers>, fast: bool) {
    if fast {
        summary.skip("servers: left out by --fast");
        return;
    }
    let Some(servers) = servers else {
        summary.run(Step::new("servers", |_, _, _| Ok(Verdict::failed("starting them panicked", ""))));
        return;
    };
    for (name, fate) in servers.fates.clone() {
        summary.run(Step::new(name, move |_, _, _| {
            Ok(match fate {
                Ok(took) => Verdict::passed(format!("ready after {:.1} s", took.as_secs_f64())),
                Err(reason) if servers::required() => Verdict::failed("does not run", reason),
                Err(reason) => Verdict::skipped(format!("does not run: {}", reason.replace('\n', " "))),
            })
        }));
    }
}

fn tests(layout: &Layout, skipped: &Path, servers: Option<&Servers>) -> Invocation {
    let tests = cargo(layout, "cargo test --workspace --all-features --no-fail-fast")
        .env("SEKISHO_VECTORS", &layout.vectors)
        .env("SEKISHO_SKIPPED", skipped);
    match servers {
        Some(servers) => tests.envs(&servers.environment()),
        // Left out on purpose, so no test may call their absence a failure.
        None => tests.env("CI", "false"),
    }
}

/// Lists what is done one after the other; each is rows of steps that run side by side.
fn without_servers(layout: &Layout, fast: bool) -> Vec<Vec<Vec<Step>>> {
    let keys = "-p sekisho-jwks -p sekisho-jwt";
    let examples = ["quickstart", "issuer", "gateway", "sessions", "bff", "browser-storage", "authorization"];
    let alone = examples
        .map(|name| Step::passes(name, cargo(layout, "cargo run --example").args([name, "--", "--once"])))
        .into_iter()
        .chain([
            Step::tests(
                "ring alone",
                cargo(layout, &format!("cargo test {keys} --no-default-features --features ring --lib --no-fail-fast")),
            ),
            Step::fails_with(
                "no backend",
                cargo(layout, "cargo check -p sekisho-jwks --no-default-features"),
                "switch on at least one crypto backend",
            ),
        ]);
    let mut all: Vec<_> = alone.map(|step| vec![vec![step]]).collect();
    let mut elsewhere = in_other_folders(layout);
    if !fast {
        elsewhere.extend(fuzz_build(layout));
    }
    // The features are compiled one crate after the other, which leaves a core to what has another target folder.
    all.push(vec![in_the_folder_of_the_build(layout), elsewhere]);
    all
}

fn in_the_folder_of_the_build(layout: &Layout) -> Vec<Step> {
    vec![
        Step::check("features", gates::features),
        Step::passes(
            "clippy",
            cargo(layout, "cargo clippy --workspace --all-targets --all-features --keep-going -- -D warnings"),
        ),
        Step::passes(
            "docs",
            cargo(layout, "cargo doc --workspace --no-deps --all-features --keep-going")
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
    ]
}

fn in_other_folders(layout: &Layout) -> Vec<Step> {
    let shuttle = "-p sekisho-jwks -p sekisho-jwt -p sekisho-session -p sekisho-oidc -p sekisho-policy";
    let shuttle = format!("{shuttle} --features sekisho-policy/remote");
    vec![
        Step::tests(
            "interleavings",
            cargo(layout, &format!("cargo test {shuttle} --lib --no-fail-fast shuttle"))
                .env("RUSTFLAGS", "--cfg sekisho_shuttle")
                .env("CARGO_TARGET_DIR", layout.target.join("shuttle")),
        ),
        Step::check("licences", |layout, log, line| {
            let program = DENY.install(layout, log, line)?;
            let deny = Invocation::new(program).args(["--all-features", "check", "bans", "licenses", "sources"]);
            process::must(&deny.folder(&layout.root), log, line, &|| None)?;
            Ok("bans, licences, sources".to_owned())
        }),
        Step::new("advisories", |layout, log, line| {
            let program = DENY.install(layout, log, line)?;
            let deny = Invocation::new(program).args(["--all-features", "check", "advisories"]).folder(&layout.root);
            let limit = std::time::Duration::from_secs(180);
            let finished = process::run(&deny, log, line, limit, &|| None)?;
            Ok(if finished.success() {
                Verdict::passed("none is known")
            } else if finished.status.is_none() || is_unreachable(&finished.output) {
                Verdict::skipped("the advisory database cannot be reached")
            } else {
                Verdict::failed("", finished.tail(80))
            })
        }),
    ]
}

/// Says whether cargo-deny failed before it had a database to look into.
fn is_unreachable(output: &str) -> bool {
    output.contains("failed to fetch advisory database") || output.contains("failed to load advisory database")
}

fn fuzz_build(layout: &Layout) -> Option<Step> {
    let build = Step::check("fuzz: build", |layout, log, line| {
        let program = FUZZ.install(layout, log, line)?;
        process::must(&perform::fuzz_seeds(layout), log, line, &|| None)?;
        process::must(&perform::fuzz_build(layout, &program), log, line, &|| None)?;
        Ok(String::new())
    });
    (!perform::fuzz_targets(layout).is_empty()).then_some(build)
}

/// Lists the targets in two rows, since each keeps one core busy and there are at least two.
fn fuzz(layout: &Layout) -> Vec<Vec<Step>> {
    let step = |target: String| {
        Step::new(format!("fuzz: {target}"), move |layout, log, line| {
            let program = FUZZ.install(layout, log, line)?;
            process::must(&perform::fuzz_run(layout, &program, &target, FUZZ_SECONDS)?, log, line, &|| None)?;
            Ok(Verdict::passed(format!("{FUZZ_SECONDS} s without a crash")))
        })
    };
    let mut second = perform::fuzz_targets(layout);
    let first = second.split_off(second.len() / 2);
    [first, second].into_iter().map(|targets| targets.into_iter().map(step).collect()).collect()
}

fn benches(layout: &Layout) -> Result<Vec<Step>> {
    let benches = perform::benches(layout)?;
    Ok(benches
        .into_iter()
        .map(|name| {
            Step::new(format!("bench: {name}"), move |layout, log, line| {
                perform::forget_rows(layout, &name)?;
                process::must(&perform::bench_run(layout, &name, true), log, line, &|| None)?;
                Ok(Verdict::passed(format!("{} rows", perform::read_rows(layout, &name)?)))
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_missing_database_for_no_finding_and_nothing_else() {
        assert!(is_unreachable("error: failed to fetch advisory database https://github.com/rustsec/advisory-db"));
        assert!(!is_unreachable("error[vulnerability]: a flaw\n = ID: RUSTSEC-2023-0071"));
        assert!(!is_unreachable(""));
    }
}
