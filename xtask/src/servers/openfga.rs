//! OpenFGA, in memory and without a store: tests make their own.

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{go, ready};

/// Loses everything when it is killed.
pub(crate) struct OpenFga;

impl Server for OpenFga {
    fn name(&self) -> &'static str {
        "openfga"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        go::OPENFGA.install(layout, line)
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        let (port, grpc) = (ready::free_port()?, ready::free_port()?);
        let url = format!("http://127.0.0.1:{port}");
        let invocation = Invocation::new(&program)
            .args(["run", "--datastore-engine=memory", "--log-level=error"])
            .args(["--playground-enabled=false", "--metrics-enabled=false", "--experimentals=authzen"])
            .arg(format!("--authzen-base-url={url}"))
            .arg(format!("--http-addr=127.0.0.1:{port}"))
            .arg(format!("--grpc-addr=127.0.0.1:{grpc}"))
            .folder(place.scratch);
        let log = place.layout.log("openfga");
        let resident = Resident::start(invocation, log, port, move || ready::answers_ok(port, "/healthz"), line)?;
        Ok(Running::new(resident)
            .with("SEKISHO_OPENFGA_URL", url)
            .with("SEKISHO_OPENFGA", program.display().to_string()))
    }
}
