//! Client libraries and a browser's remote control, for scripts that tests run (tests/servers/node-clients).

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::progress::Line;
use crate::servers::npm;
use crate::servers::running::{Place, Running, Server};

/// No process: a folder of packages, and Node.js, which is asked for its version.
pub(crate) struct NodeClients;

impl Server for NodeClients {
    fn name(&self) -> &'static str {
        "node-clients"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        npm::install("node-clients", layout, line)
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let node = npm::node(place.layout, line)?;
        let packages = self.install(place.layout, line)?;
        let running = Running::on_demand("SEKISHO_NODE_CLIENTS", &packages);
        Ok(running.with("SEKISHO_NODE", node.display().to_string()))
    }
}
