//! moto, which answers as Amazon Cognito does: a user pool with real RS256 tokens and their key set.

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{cached, ready};

const VERSION: &str = "5.2.5";

/// Starts without a pool.
pub(crate) struct Moto;

impl Server for Moto {
    fn name(&self) -> &'static str {
        "moto"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
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

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let folder = self.install(place.layout, line)?;
        let port = ready::free_port()?;
        let invocation = Invocation::new(folder.join("bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .folder(place.scratch);
        let log = place.layout.log("moto");
        let resident = Resident::start(invocation, log, port, move || ready::answers_ok(port, "/moto-api/"), line)?;
        Ok(Running::new(resident).with("SEKISHO_MOTO_URL", format!("http://127.0.0.1:{port}")))
    }
}
