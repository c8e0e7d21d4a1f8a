//! The drills at their full length, with what they print.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::layout::Layout;
use crate::perform::show;
use crate::process::Invocation;
use crate::progress::Screen;
use crate::servers::Servers;

/// Names a drill.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Drill {
    /// Credentials are revoked at the issuer while four gateways are under load.
    Revocation,
    /// The issuer is killed under load, and comes back after a minute.
    Outage,
}

/// `cargo xtask drill`.
pub(crate) fn run(layout: &Layout, drill: Drill) -> Result<ExitCode> {
    let scratch = layout.scratch()?;
    // The tests skip what they find no server for.
    let servers = Servers::start_for_drills(layout, scratch.path(), &Screen::new());
    let (module, settings): (_, &[(&str, &str)]) = match drill {
        // What `PollingFeed` does unless told otherwise, and what documentation shows for introspection.
        Drill::Revocation => (
            "drill::revocation",
            &[("SEKISHO_DRILL_RATE", "200"), ("SEKISHO_DRILL_INTERVAL_S", "10"), ("SEKISHO_DRILL_CACHE_S", "30")],
        ),
        Drill::Outage => ("drill::outage", &[("SEKISHO_DRILL_RATE", "200"), ("SEKISHO_DRILL_OUTAGE_S", "60")]),
    };
    let mut test = Invocation::parse("cargo test --quiet -p sekisho-tests --test servers")
        .arg(module)
        .args(["--", "--nocapture", "--test-threads", "1"])
        .folder(&layout.root)
        .envs(&servers.environment());
    for (name, value) in settings {
        test = test.env(name, value);
    }
    show(&test)
}
