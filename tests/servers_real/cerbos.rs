//! Cerbos, which is asked over AuthZEN: its policies are files.

use std::path::{Path, PathBuf};

use crate::decision_process::{Process, Recipe};
use crate::gateway_process::free_port;
use crate::setup;

/// A running Cerbos: the one that all tests share, or one of the test's own.
pub(crate) struct Cerbos {
    url: String,
    process: Option<Process>,
}

impl Cerbos {
    /// Returns the shared server, with the policies of `tests/servers/cerbos`; `None`, after a line that says so, when
    /// there is none.
    pub(crate) fn reach(test: &str) -> Option<Self> {
        Some(Self { url: setup::variable("SEKISHO_CERBOS_URL", test)?, process: None })
    }

    /// Starts a server with the same policies for this test alone, which ends with it; `None` likewise.
    pub(crate) async fn private(test: &str) -> Option<Self> {
        Self::private_with(test, &settings().join("policies")).await
    }

    /// As [`private`](Self::private), with the policies in another folder.
    pub(crate) async fn private_with(test: &str, policies: &Path) -> Option<Self> {
        let program = PathBuf::from(setup::variable("SEKISHO_CERBOS", test)?);
        let (address, grpc) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let arguments = vec![
            "server".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--config={}", settings().join("cerbos.yaml").display()),
            format!("--set=storage.disk.directory={}", policies.display()),
            format!("--set=server.httpListenAddr={address}"),
            format!("--set=server.grpcListenAddr={grpc}"),
        ];
        let (name, url) = (format!("cerbos--{}", test.replace(' ', "-")), format!("http://{address}"));
        let recipe = Recipe { name, program, arguments, address, ready_path: "/_cerbos/health" };
        Some(Self { url, process: Some(Process::start(recipe).await) })
    }

    /// Returns `http://127.0.0.1:PORT`, the base of its AuthZEN endpoints.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Takes hold of a private server's process. Cerbos comes back as it was.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a private server")
    }
}

fn settings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/cerbos")
}
