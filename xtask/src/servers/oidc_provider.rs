//! oidc-provider, a certified OpenID provider on Node.js, in a small program of ours (tests/servers/oidc-provider).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{npm, ready};

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Makes new keys at each start and forgets all tokens.
pub(crate) struct OidcProvider;

impl Server for OidcProvider {
    fn name(&self) -> &'static str {
        "oidc-provider"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        npm::install("oidc-provider", layout, line)
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let Place { layout, scratch } = place;
        let installed = self.install(layout, line)?;
        // Node.js looks for packages beside the program.
        let folder = scratch.join("oidc-provider");
        fs::create_dir(&folder)?;
        let source = layout.root.join("tests/servers/oidc-provider");
        for name in ["package.json", "server.mjs"] {
            fs::copy(source.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
        symlink(installed.join("node_modules"), folder.join("node_modules"))?;
        let log = layout.log("oidc-provider");
        let node = npm::node(layout, line)?;
        let port = ready::free_port()?;
        let invocation = Invocation::new(node).arg("server.mjs").arg(port.to_string()).folder(&folder);
        let resident = Resident::start(invocation, log, port, move || ready::answers_ok(port, DISCOVERY), line)?;
        Ok(Running::new(resident).with("SEKISHO_OIDC_PROVIDER_URL", format!("http://127.0.0.1:{port}")))
    }
}
