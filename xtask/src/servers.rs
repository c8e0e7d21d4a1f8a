//! The real servers that tests talk to: installed once into the cache, started on free loopback ports.

mod cached;
mod cerbos;
mod control;
mod gateways;
mod go;
mod keycloak;
mod moto;
mod node_clients;
mod npm;
mod oidc_provider;
mod opa;
mod openfga;
mod postgresql;
mod program;
mod pypi;
mod ready;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod running;

use std::env;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;
use crate::progress::{Line, Screen};
use crate::servers::control::Control;
use crate::servers::running::{Place, Running, Server};

/// All of them; the slowest first.
const SERVERS: [&dyn Server; 17] = [
    &keycloak::Keycloak,
    &opa::Opa,
    &openfga::OpenFga,
    &cerbos::Cerbos,
    &moto::Moto,
    &oidc_provider::OidcProvider,
    &postgresql::Postgresql,
    &redis::Redis,
    &redis_cluster::RedisCluster,
    &redis_sentinel::RedisSentinel,
    &gateways::NGINX,
    &gateways::HAPROXY,
    &gateways::ENVOY,
    &gateways::TRAEFIK,
    &gateways::CADDY,
    &gateways::CHROMIUM,
    &node_clients::NodeClients,
];

/// The servers of one run; dropping this stops them.
pub(crate) struct Servers {
    running: Vec<Running>,
    control: Option<Control>,
    /// How each server fared: its name, and how long it took or why it does not run.
    pub(crate) fates: Vec<(&'static str, Result<Duration, String>)>,
}

impl Servers {
    /// Installs what is missing, starts all servers and waits until each is ready; one that does not run spoils no
    /// other.
    pub(crate) fn start(layout: &Layout, scratch: &Path, screen: &Screen) -> Self {
        Self::start_these(&SERVERS, &Place { layout, scratch }, screen)
    }

    /// Starts what the drills of `cargo xtask drill` want.
    pub(crate) fn start_for_drills(layout: &Layout, scratch: &Path, screen: &Screen) -> Self {
        Self::start_these(&[&redis::Redis], &Place { layout, scratch }, screen)
    }

    fn start_these(servers: &[&dyn Server], place: &Place<'_>, screen: &Screen) -> Self {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = servers
                .iter()
                .map(|server| {
                    let start = || attempt(screen, server.name(), "ready", |line| server.start(place, line));
                    (server.name(), scope.spawn(start))
                })
                .collect();
            threads
                .into_iter()
                .map(|(name, thread)| (name, thread.join().unwrap_or_else(|_| Err("panicked".to_owned()))))
                .collect()
        });
        let mut residents = Vec::new();
        let mut started = Self { running: Vec::new(), control: None, fates: Vec::new() };
        for (name, outcome) in outcomes {
            let fate = outcome.map(|(running, took)| {
                let named = running.residents.iter();
                residents.extend(named.map(|(own, resident)| (own.unwrap_or(name), resident.clone())));
                started.running.push(running);
                took
            });
            started.fates.push((name, fate));
        }
        match Control::open(&residents) {
            Ok(control) => started.control = Some(control),
            Err(error) => started.fates.push(("control", Err(format!("{error:#}")))),
        }
        started
    }

    /// Returns the variables that tell tests where the servers are; those of a missing server are absent.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let Self { running, control, fates: _ } = self;
        let control = control.as_ref().map(|control| ("SEKISHO_SERVERS_CONTROL", control.address()));
        let variables = running.iter().flat_map(|running| running.variables.iter().cloned());
        variables.chain(control).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn attempt<T>(
    screen: &Screen,
    name: &str,
    note: &str,
    work: impl FnOnce(&Line) -> Result<T>,
) -> Result<(T, Duration), String> {
    let line = screen.line(name);
    match work(&line) {
        Ok(done) => Ok((done, line.finish("✓", note))),
        Err(error) => {
            line.finish("✗", &format!("not {note}"));
            Err(format!("{error:#}"))
        }
    }
}

/// Starts the servers, or only those that are named, prints how to reach them and stays until the program is ended.
pub(crate) fn stay(layout: &Layout, only: &[String]) -> Result<ExitCode> {
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    for name in only {
        ensure!(SERVERS.iter().any(|server| server.name() == name), "there is no server {name}");
    }
    let wanted: Vec<&dyn Server> = SERVERS.into_iter().filter(|server| is_wanted(server.name())).collect();
    let scratch = layout.scratch()?;
    let screen = Screen::new();
    let servers = Servers::start_these(&wanted, &Place { layout, scratch: scratch.path() }, &screen);
    for (name, fate) in &servers.fates {
        if let Err(reason) = fate {
            eprintln!("{name} does not run: {reason}");
        }
    }
    for (name, value) in servers.environment() {
        println!("export {name}={value}");
    }
    if servers.running.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    eprintln!("Ctrl-C stops them");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Installs the servers, all that can be, without starting them.
pub(crate) fn install(layout: &Layout) -> Result<ExitCode> {
    let screen = Screen::new();
    let mut code = ExitCode::SUCCESS;
    for server in SERVERS {
        let name = server.name();
        match attempt(&screen, name, "installed", |line| server.install(layout, line)) {
            Ok((place, _)) => screen.print(&format!("  {}", place.display())),
            Err(reason) => {
                eprintln!("{name} cannot be installed: {reason}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Says whether a missing server has to fail the run.
pub(crate) fn required() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Returns 32 hexadecimal digits that nobody can guess.
fn random_word() -> Result<String> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Fake(&'static str, fn() -> Result<Running>);

    impl Server for Fake {
        fn name(&self) -> &'static str {
            self.0
        }

        fn install(&self, _: &Layout, _: &Line) -> Result<PathBuf> {
            anyhow::bail!("not asked for")
        }

        fn start(&self, _: &Place<'_>, _: &Line) -> Result<Running> {
            self.1()
        }
    }

    #[test]
    fn one_that_does_not_run_spoils_no_other() {
        let layout = Layout::find().unwrap();
        let place = Place { layout: &layout, scratch: Path::new("/nowhere") };
        let good = Fake("good", || Ok(Running::on_demand("SEKISHO_GOOD", Path::new("/bin/good"))));
        let bad = Fake("bad", || anyhow::bail!("no such package"));
        let ugly = Fake("ugly", || panic!("on purpose"));
        let servers = Servers::start_these(&[&ugly, &bad, &good], &place, &Screen::silent());
        let fates: Vec<_> = servers.fates.iter().map(|(name, fate)| (*name, fate.as_ref().err().cloned())).collect();
        assert_eq!(
            fates,
            [("ugly", Some("panicked".to_owned())), ("bad", Some("no such package".to_owned())), ("good", None)]
        );
        let names: Vec<_> = servers.environment().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["SEKISHO_GOOD", "SEKISHO_SERVERS_CONTROL"]);
    }

    #[test]
    fn each_server_has_a_name_of_its_own() {
        let mut names: Vec<_> = SERVERS.iter().map(|server| server.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVERS.len());
        assert!(names.iter().all(|name| !name.contains(char::is_whitespace)), "{names:?}");
    }
}
