//! The recipes that run a program and let it speak: fuzz targets, benches, the comparison.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Screen;
use crate::tools::FUZZ;

/// Names the fuzz targets, in alphabetical order; none when there is no fuzz folder.
pub(crate) fn fuzz_targets(layout: &Layout) -> Vec<String> {
    let Ok(entries) = fs::read_dir(layout.root.join("fuzz/fuzz_targets")) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Builds all fuzz targets.
pub(crate) fn fuzz_build(layout: &Layout, program: &Path) -> Invocation {
    fuzz_command(layout, program).args(["build", "--target-dir"]).arg(layout.target.join("fuzz"))
}

/// Writes the seeds of all fuzz targets, the testkit's hostile tokens taken apart and what is published, below target/.
pub(crate) fn fuzz_seeds(layout: &Layout) -> Invocation {
    Invocation::new(Path::new("cargo"))
        .folder(&layout.root)
        .args(["run", "--quiet", "-p", "sekisho-testkit", "--example", "corpus", "--"])
        .arg(layout.target.join("fuzz/seeds"))
        .env("SEKISHO_VECTORS", &layout.vectors)
}

/// Runs one fuzz target: what it finds new goes below target/, seeds and the corpus in fuzz/ are only read.
pub(crate) fn fuzz_run(layout: &Layout, program: &Path, target: &str, seconds: u32) -> Result<Invocation> {
    let found = layout.target.join("fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    let mut run = fuzz_command(layout, program)
        .args(["run", "--target-dir"])
        .arg(layout.target.join("fuzz"))
        .arg(target)
        .arg(found);
    for read in [layout.target.join("fuzz/seeds"), layout.root.join("fuzz/corpus")] {
        if read.join(target).exists() {
            run = run.arg(read.join(target));
        }
    }
    Ok(run.args(["--", "-timeout=10"]).arg(format!("-max_total_time={seconds}")))
}

fn fuzz_command(layout: &Layout, program: &Path) -> Invocation {
    // The fuzzer prints its own stack; a second and a third one would bury the message of a failed target.
    Invocation::new(program)
        .arg("fuzz")
        .folder(&layout.root.join("fuzz"))
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .env("RUST_BACKTRACE", "0")
}

/// `cargo xtask fuzz`.
pub(crate) fn fuzz(layout: &Layout, target: Option<&str>, seconds: u32) -> Result<ExitCode> {
    let all = fuzz_targets(layout);
    let chosen: Vec<&String> = all.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    ensure!(!chosen.is_empty(), "the fuzz targets are: {}", all.join(", "));
    let screen = Screen::new();
    let line = screen.line("cargo-fuzz");
    let program = FUZZ.install(layout, &layout.log("cargo-fuzz"), &line)?;
    line.finish("✓", "");
    let seeded = show(&fuzz_seeds(layout))?;
    if seeded != ExitCode::SUCCESS {
        return Ok(seeded);
    }
    for name in chosen {
        let code = show(&fuzz_run(layout, &program, name, seconds)?)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Names the programs in benches/; none when there is no such folder.
pub(crate) fn benches(layout: &Layout) -> Result<Vec<String>> {
    let manifest = layout.root.join("benches/Cargo.toml");
    if !manifest.exists() {
        return Ok(Vec::new());
    }
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo metadata failed for {}", manifest.display());
    bins(&output.stdout, &manifest)
}

fn bins(metadata: &[u8], manifest: &Path) -> Result<Vec<String>> {
    let metadata: Value = serde_json::from_slice(metadata)?;
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let package = list(&metadata, "packages")
        .into_iter()
        .find(|package| package.get("manifest_path").and_then(Value::as_str).map(Path::new) == Some(manifest))
        .with_context(|| format!("{} has no package", manifest.display()))?;
    let mut names: Vec<String> = list(&package, "targets")
        .iter()
        .filter(|target| list(target, "kind").iter().any(|kind| kind == "bin"))
        .filter_map(|target| Some(target.get("name")?.as_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Builds and runs one bench, which leaves its rows in `bench_rows`.
pub(crate) fn bench_run(layout: &Layout, name: &str, quick: bool) -> Invocation {
    let profile = if quick { "quick" } else { "release" };
    let run = peers(layout, "benches/Cargo.toml", profile).args(["--bin", name, "--"]);
    if quick { run.arg("--quick") } else { run }
}

/// `cargo xtask bench`.
pub(crate) fn bench(layout: &Layout, name: &str, quick: bool, arguments: &[String]) -> Result<ExitCode> {
    let all = benches(layout)?;
    ensure!(all.iter().any(|bench| bench == name), "the benches are: {}", all.join(", "));
    forget_rows(layout, name)?;
    let code = show(&bench_run(layout, name, quick).args(arguments))?;
    if code == ExitCode::SUCCESS {
        read_rows(layout, name)?;
    }
    Ok(code)
}

/// Removes the rows of an earlier run, which must not pass for those of the next.
pub(crate) fn forget_rows(layout: &Layout, name: &str) -> Result<()> {
    let rows = rows(layout, name);
    if rows.exists() {
        fs::remove_file(rows)?;
    }
    Ok(())
}

/// Checks the rows that a bench wrote and returns how many there are.
pub(crate) fn read_rows(layout: &Layout, name: &str) -> Result<usize> {
    let path = rows(layout, name);
    let text = fs::read_to_string(&path).with_context(|| format!("the bench wrote no {}", path.display()))?;
    count_rows(&text).with_context(|| format!("{} is not what it should be", path.display()))
}

fn rows(layout: &Layout, name: &str) -> PathBuf {
    layout.target.join("bench").join(format!("{name}.jsonl"))
}

fn count_rows(text: &str) -> Result<usize> {
    for (index, line) in text.lines().enumerate() {
        let row: Value = serde_json::from_str(line).with_context(|| format!("line {}", index + 1))?;
        for member in ["case", "median_ns", "baseline", "ratio", "allocations"] {
            ensure!(row.get(member).is_some(), "line {} has no {member}", index + 1);
        }
    }
    let count = text.lines().count();
    ensure!(count > 0, "it has no rows");
    Ok(count)
}

/// `cargo xtask compare`.
pub(crate) fn compare(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    show(&peers(layout, "benches/compare/Cargo.toml", "release").arg("--").args(arguments))
}

fn peers(layout: &Layout, manifest: &str, profile: &str) -> Invocation {
    Invocation::parse("cargo run --profile")
        .arg(profile)
        .arg("--manifest-path")
        .arg(layout.root.join(manifest))
        .arg("--target-dir")
        .arg(layout.target.join("peers"))
        .env("SEKISHO_VECTORS", &layout.vectors)
        .folder(&layout.root)
}

/// Runs a command that prints for itself.
pub(crate) fn show(invocation: &Invocation) -> Result<ExitCode> {
    let status = process::show(invocation)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &[u8] = br#"{"packages":[
        {"manifest_path":"/w/benches/compare/Cargo.toml","targets":[{"kind":["bin"],"name":"compare"}]},
        {"manifest_path":"/w/benches/Cargo.toml","targets":[{"kind":["lib"],"name":"benches"},
            {"kind":["bin"],"name":"verify"},{"kind":["bin"],"name":"cached"}]}]}"#;

    #[test]
    fn finds_the_programs_of_the_bench_package_alone() {
        assert_eq!(bins(METADATA, Path::new("/w/benches/Cargo.toml")).unwrap(), ["cached", "verify"]);
    }

    #[test]
    fn finds_no_programs_where_there_is_no_package() {
        assert!(bins(METADATA, Path::new("/w/fuzz/Cargo.toml")).is_err());
        assert!(bins(b"{}", Path::new("/w/benches/Cargo.toml")).is_err());
        assert!(bins(b"not json", Path::new("/w/benches/Cargo.toml")).is_err());
    }

    #[test]
    fn counts_the_rows_of_a_bench() {
        let row = r#"{"case":"a","median_ns":1.5,"baseline":"b","ratio":1.0,"allocations":2,"min_ns":1.2}"#;
        assert_eq!(count_rows(&format!("{row}\n{row}\n")).unwrap(), 2);
    }

    #[test]
    fn refuses_rows_that_say_too_little() {
        for text in ["", "not json\n", "{}\n", r#"{"case":"a","median_ns":1.5,"baseline":"b","ratio":1.0}"#] {
            assert!(count_rows(text).is_err(), "{text}");
        }
    }
}
