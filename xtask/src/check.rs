//! `cargo xtask check`: under a minute, before each commit.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Screen;
use crate::steps::Step;
use crate::summary::Summary;

pub(crate) fn run(layout: &Layout) -> Result<ExitCode> {
    let screen = Screen::new();
    let mut summary = Summary::new(layout, &screen);
    let cargo = |line: &str| Invocation::parse(line).folder(&layout.root);
    summary.run(Step::passes("format", cargo("cargo fmt --all --check -- -l")));
    summary.run(Step::passes(
        "clippy",
        cargo("cargo clippy --workspace --all-targets --all-features --keep-going -- -D warnings"),
    ));
    let touched = touched(layout)?;
    let mut tests = cargo("cargo test --all-features --lib --no-fail-fast");
    if touched.is_empty() {
        tests = tests.arg("--workspace");
    }
    for package in &touched {
        tests = tests.arg("--package").arg(package.as_str());
    }
    let name = if touched.is_empty() { "unit tests" } else { "unit tests of what changed" };
    summary.run(Step::tests(name, tests));
    Ok(summary.finish())
}

/// Names the crates with changes that are not committed; none when nothing, or more than crates, has changed.
fn touched(layout: &Layout) -> Result<BTreeSet<String>> {
    let output = Command::new("git")
        .args(["status", "--porcelain", "--no-renames", "--untracked-files=all"])
        .current_dir(&layout.root)
        .output()?;
    ensure!(output.status.success(), "git status failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(crates_of(&String::from_utf8_lossy(&output.stdout)))
}

fn crates_of(status: &str) -> BTreeSet<String> {
    let mut crates = BTreeSet::new();
    for path in status.lines().filter_map(|line| line.get(3..)) {
        if let Some(rest) = path.strip_prefix("crates/") {
            crates.extend(rest.split_once('/').map(|(name, _)| name.to_owned()));
        } else if matches!(path, "Cargo.toml" | "Cargo.lock" | "rust-toolchain.toml") {
            return BTreeSet::new();
        }
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_touched_crate_once() {
        let status = " M crates/sekisho-jwt/src/lib.rs\n?? crates/sekisho-jwt/src/new.rs\nM  crates/sekisho-core/Cargo.toml\n M docs/a.md\n";
        assert_eq!(crates_of(status), BTreeSet::from(["sekisho-core".to_owned(), "sekisho-jwt".to_owned()]));
    }

    #[test]
    fn names_none_when_the_whole_workspace_may_be_touched() {
        assert!(crates_of(" M crates/sekisho-jwt/src/lib.rs\n M Cargo.lock\n").is_empty());
        assert!(crates_of("").is_empty());
    }
}
