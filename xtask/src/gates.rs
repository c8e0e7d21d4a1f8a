//! Rules about the workspace itself that no other tool checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;

/// Packages that the published crates must not pull in by their default features, with their bindings.
const UNWANTED: [&str; 4] = ["rsa", "openssl", "openssl-sys", "native-tls"];

/// The manifest, the toolchain file and the README name the same oldest compiler.
pub(crate) fn oldest_compiler(layout: &Layout, _: &Path, _: &Line) -> Result<String> {
    let read = |name: &str| fs::read_to_string(layout.root.join(name)).with_context(|| format!("cannot read {name}"));
    agree(&read("Cargo.toml")?, &read("rust-toolchain.toml")?, &read("README.md")?)
}

fn agree(manifest: &str, toolchain: &str, readme: &str) -> Result<String> {
    let version = value(manifest, "rust-version").context("Cargo.toml has no rust-version")?;
    let channel = value(toolchain, "channel").context("rust-toolchain.toml has no channel")?;
    ensure!(
        channel == version || channel.strip_prefix(version).is_some_and(|rest| rest.starts_with('.')),
        "Cargo.toml says {version}, rust-toolchain.toml says {channel}"
    );
    ensure!(readme.contains(&format!("Rust {version}")), "README.md does not mention Rust {version}");
    Ok(format!("Rust {version}"))
}

/// Returns the string that `name = "…"` gives in a TOML file of ours.
fn value<'a>(toml: &'a str, name: &str) -> Option<&'a str> {
    toml.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim();
        rest.strip_prefix('"')?.split('"').next()
    })
}

/// The disk has room for what is built. Where it has not, compilers and servers would fail half an hour later in their own words.
pub(crate) fn room(layout: &Layout, log: &Path, line: &Line, fast: bool) -> Result<String> {
    fs::create_dir_all(&layout.target)?;
    let of_target = |program: &str| Invocation::parse(program).arg(&layout.target);
    let free = process::must(&of_target("df -Pk"), log, line, &|| None)?;
    let built = process::must(&of_target("du -sk"), log, line, &|| None)?;
    let free = kibibytes(free.stdout.lines().nth(1), 3).context("df does not say what is free")?;
    let built = kibibytes(built.stdout.lines().next(), 0).context("du does not say how large target/ is")?;
    let shown = format!("{:.1} GB are free, {:.1} GB are built", gigabytes(free), gigabytes(built));
    let needed = if fast { NEEDED_FAST_KIB } else { NEEDED_KIB };
    ensure!(free + built >= needed, "{shown}; together {:.0} GB are needed", gigabytes(needed));
    Ok(shown)
}

/// What `.ci/run` takes of the disk at most, from nothing, and a little more.
const NEEDED_KIB: u64 = 11_000_000;

/// The same without fuzz targets and benches.
const NEEDED_FAST_KIB: u64 = 8_000_000;

/// Reads a column of a line.
fn kibibytes(line: Option<&str>, column: usize) -> Option<u64> {
    line?.split_whitespace().nth(column)?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "to be shown")]
fn gigabytes(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e9
}

/// The graph of `cargo test` and of the examples is free of what a machine without OpenSSL's headers cannot build.
pub(crate) fn plain_build(layout: &Layout, log: &Path, line: &Line) -> Result<String> {
    let command = "cargo tree --locked --workspace --edges normal,build,dev --prefix none";
    let tree = process::must(&Invocation::parse(command).folder(&layout.root), log, line, &|| None)?;
    let found = unwanted(&tree.stdout);
    if !found.is_empty() {
        bail!("a plain `cargo test` brings in {}", found.join(", "));
    }
    Ok("needs no OpenSSL".to_owned())
}

/// The default graph of the published crates is free of packages we promise to do without.
pub(crate) fn default_graph(layout: &Layout, log: &Path, line: &Line) -> Result<String> {
    let command = "cargo tree --locked --workspace --exclude xtask --exclude sekisho-tests --exclude sekisho-examples \
                   --edges normal,build --prefix none";
    let tree = process::must(&Invocation::parse(command).folder(&layout.root), log, line, &|| None)?;
    let found = unwanted(&tree.stdout);
    if !found.is_empty() {
        bail!("the default features bring in {}", found.join(", "));
    }
    Ok(format!("none of {}", UNWANTED.join(", ")))
}

/// Each published crate compiles with each of its features alone, with none, and with what `default` says: features only add.
pub(crate) fn features(layout: &Layout, log: &Path, line: &Line) -> Result<String> {
    let metadata = Invocation::parse("cargo metadata --locked --no-deps --format-version 1").folder(&layout.root);
    let metadata: Value = serde_json::from_str(&process::must(&metadata, log, line, &|| None)?.stdout)?;
    let sets = feature_sets(&metadata);
    ensure!(!sets.is_empty(), "no published crate was found");
    let done = AtomicUsize::new(0);
    for (package, features) in &sets {
        let check = Invocation::parse("cargo check --quiet --locked --no-default-features -p").arg(package);
        let check = check.args(["--features", features]).folder(&layout.root);
        process::must(&check, log, line, &|| Some(format!("{} of {}", done.load(Relaxed), sets.len())))
            .with_context(|| format!("{package} does not compile with the features \"{features}\" alone"))?;
        done.fetch_add(1, Relaxed);
    }
    Ok(format!("{} sets of features", sets.len()))
}

/// Lists, for each published crate, the sets of features to compile it with. Where a crypto backend is needed, one is on.
fn feature_sets(metadata: &Value) -> Vec<(String, String)> {
    const BACKENDS: [&str; 2] = ["aws-lc-rs", "ring"];
    let mut sets = Vec::new();
    for package in metadata.get("packages").and_then(Value::as_array).into_iter().flatten() {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(features) = package.get("features").and_then(Value::as_object) else { continue };
        // `publish = false` is an empty list of registries.
        if package.get("publish").is_some_and(|publish| !publish.is_null()) {
            continue;
        }
        let backends: Vec<&str> = BACKENDS.into_iter().filter(|backend| features.contains_key(*backend)).collect();
        let with = |backend: &str, feature: &str| format!("{backend} {feature}").trim().to_owned();
        for backend in if backends.is_empty() { vec![""] } else { backends.clone() } {
            sets.push((name.to_owned(), with(backend, "")));
        }
        let first = backends.first().copied().unwrap_or_default();
        let own = features.keys().filter(|feature| !BACKENDS.contains(&feature.as_str()));
        sets.extend(own.map(|feature| (name.to_owned(), with(first, feature))));
        // Two sets that bring the same are one: `default` is a feature of its own only in name.
        let mut known = BTreeSet::new();
        sets.retain(|(package, set)| package != name || known.insert(closure(features, set)));
    }
    sets
}

/// Lists what a set of features brings, but for the name `default`.
fn closure(features: &Map<String, Value>, set: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut open: Vec<&str> = set.split_whitespace().collect();
    while let Some(feature) = open.pop() {
        if all.insert(feature.to_owned()) {
            let brought = features.get(feature).and_then(Value::as_array).into_iter().flatten();
            open.extend(brought.filter_map(Value::as_str));
        }
    }
    all.remove("default");
    all
}

fn unwanted(tree: &str) -> Vec<&str> {
    let mut found: Vec<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| UNWANTED.contains(name)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.package]\nversion = \"0.1.0\"\nrust-version = \"1.95\"\n";

    #[test]
    fn accepts_three_files_that_agree() {
        assert!(agree(MANIFEST, "channel = \"1.95.0\"", "It needs Rust 1.95 or newer.").is_ok());
        assert!(agree(MANIFEST, "channel = \"1.95\"", "Rust 1.95").is_ok());
    }

    #[test]
    fn refuses_a_toolchain_or_readme_that_disagrees() {
        assert!(agree(MANIFEST, "channel = \"1.96.0\"", "Rust 1.95").is_err());
        assert!(agree(MANIFEST, "channel = \"1.950\"", "Rust 1.95").is_err());
        assert!(agree(MANIFEST, "channel = \"stable\"", "Rust 1.95").is_err());
        assert!(agree(MANIFEST, "channel = \"1.95.0\"", "Rust 1.90").is_err());
        assert!(agree("", "channel = \"1.95.0\"", "Rust 1.95").is_err());
        assert!(agree(MANIFEST, "", "Rust 1.95").is_err());
    }

    #[test]
    fn compiles_each_feature_alone_beside_a_backend_where_there_are_some() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "publish": null, "features": { "default": ["ring"], "ring": [], "aws-lc-rs": [], "x": [] } },
            { "name": "b", "publish": null, "features": {} },
            { "name": "tests", "publish": [], "features": { "y": [] } },
        ]});
        let sets = feature_sets(&metadata);
        let sets: Vec<_> = sets.iter().map(|(name, features)| (&**name, &**features)).collect();
        assert_eq!(
            sets,
            [("a", "aws-lc-rs"), ("a", "ring"), ("a", "aws-lc-rs default"), ("a", "aws-lc-rs x"), ("b", "")]
        );
    }

    #[test]
    fn compiles_two_sets_of_features_that_bring_the_same_once() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "publish": null, "features": { "default": ["x"], "x": ["y", "dep:z"], "y": [], "full": ["x"] } },
            { "name": "b", "publish": null, "features": { "default": [], "x": [] } },
        ]});
        let sets = feature_sets(&metadata);
        let mut sets: Vec<_> = sets.iter().map(|(name, features)| (&**name, &**features)).collect();
        // The order of the features is that of the map, which another crate's features may change.
        sets.sort_unstable();
        assert_eq!(sets, [("a", ""), ("a", "default"), ("a", "full"), ("a", "y"), ("b", ""), ("b", "x")]);
    }

    #[test]
    fn finds_unwanted_packages_by_their_whole_name() {
        let tree =
            "sekisho v0.1.0 (crates/sekisho)\nopenssl-probe v0.1.6\nrsa v0.9.8\nparsable v1.0.0\nrsa v0.9.8 (*)\n";
        assert_eq!(unwanted(tree), ["rsa"]);
        assert!(unwanted("openssl-probe v0.1.6\nrustls v0.23.0\n").is_empty());
    }
}
