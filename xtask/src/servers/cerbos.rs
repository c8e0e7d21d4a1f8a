//! Cerbos with the policies of tests/servers/cerbos.

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{npm, ready};

/// Comes back as it was.
pub(crate) struct Cerbos;

impl Server for Cerbos {
    fn name(&self) -> &'static str {
        "cerbos"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        let packages = npm::install("cerbos", layout, line)?;
        Ok(packages.join("node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"))
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        let (port, grpc) = (ready::free_port()?, ready::free_port()?);
        let folder = place.layout.root.join("tests/servers/cerbos");
        let invocation = Invocation::new(&program)
            .args(["server", "--log-level=warn"])
            .arg(format!("--config={}", folder.join("cerbos.yaml").display()))
            .arg(format!("--set=storage.disk.directory={}", folder.join("policies").display()))
            .arg(format!("--set=server.httpListenAddr=127.0.0.1:{port}"))
            .arg(format!("--set=server.grpcListenAddr=127.0.0.1:{grpc}"))
            .folder(place.scratch);
        let log = place.layout.log("cerbos");
        let resident =
            Resident::start(invocation, log, port, move || ready::answers_ok(port, "/_cerbos/health"), line)?;
        Ok(Running::new(resident)
            .with("SEKISHO_CERBOS_URL", format!("http://127.0.0.1:{port}"))
            .with("SEKISHO_CERBOS", program.display().to_string()))
    }
}
