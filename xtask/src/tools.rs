//! Cargo's companions, in the versions that this workspace is checked with; each is built once into the cache.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;

/// A tool on crates.io whose program has the name of its package.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
pub(crate) const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

impl Tool {
    /// Builds the tool unless the cache has it, and returns its program.
    pub(crate) fn install(&self, layout: &Layout, log: &Path, line: &Line) -> Result<PathBuf> {
        let Self { name, version } = self;
        let folder = layout.cache.join(format!("tools/{name}-{version}"));
        let program = folder.join("bin").join(name);
        if !program.exists() {
            // These programs wait for other programs: a quick build is worth more than quick code.
            let install = Invocation::parse("cargo install --locked --root")
                .arg(&folder)
                .arg(format!("{name}@{version}"))
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
            process::must(&install, log, line, &|| None)?;
        }
        Ok(program)
    }
}
