//! OPA, empty: tests put their policies into it.

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{go, ready};

/// Loses everything when it is killed.
pub(crate) struct Opa;

impl Server for Opa {
    fn name(&self) -> &'static str {
        "opa"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        go::OPA.install(layout, line)
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        let port = ready::free_port()?;
        let invocation = Invocation::new(&program)
            .args(["run", "--server", "--log-level=error", "--skip-version-check"])
            .arg(format!("--addr=127.0.0.1:{port}"))
            .folder(place.scratch);
        let log = place.layout.log("opa");
        let resident = Resident::start(invocation, log, port, move || ready::answers_ok(port, "/health"), line)?;
        Ok(Running::new(resident)
            .with("SEKISHO_OPA_URL", format!("http://127.0.0.1:{port}"))
            .with("SEKISHO_OPA", program.display().to_string()))
    }
}
