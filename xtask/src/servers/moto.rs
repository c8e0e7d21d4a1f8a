//! moto, which answers as Amazon Cognito does: a user pool with real RS256 tokens and their key set.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::layout::Layout;
use crate::process::{self, Group, Invocation};
use crate::progress::Line;
use crate::servers::{cached, ready};

const VERSION: &str = "5.2.5";

/// A running moto server.
pub(crate) struct Moto {
    port: u16,
    _process: Group,
}

impl Moto {
    pub(crate) fn start(layout: &Layout, scratch: &Path, line: &Line) -> Result<Self> {
        let folder = install(layout, line)?;
        let port = ready::free_port()?;
        let log = layout.log("moto");
        let invocation = Invocation::new(folder.join("bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .folder(scratch);
        let mut process = Group::serve(&invocation, &log)?;
        ready::wait(&mut process, port, "/moto-api/", &log, line)?;
        Ok(Self { port, _process: process })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Installs moto into the cache and returns its folder.
pub(crate) fn install(layout: &Layout, line: &Line) -> Result<PathBuf> {
    let folder = layout.cache.join(format!("servers/moto-{VERSION}"));
    cached::once(&folder, line, || {
        let log = layout.log("moto-install");
        let venv = Invocation::new("python3").args(["-m", "venv"]).arg(&folder);
        process::must(&venv, &log, line, &|| None)?;
        // pip checks every file against the sum that the index gives for it.
        let pip = Invocation::new(folder.join("bin/pip"))
            .args(["install", "--progress-bar", "off"])
            .arg(format!("moto[server,cognitoidp]=={VERSION}"));
        process::must(&pip, &log, line, &|| None)?;
        Ok(())
    })?;
    Ok(folder)
}
