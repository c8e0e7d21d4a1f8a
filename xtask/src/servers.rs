//! The real servers that tests talk to: installed once into the cache, started on free loopback ports.

mod cached;
mod control;
mod keycloak;
mod moto;
mod ready;

use std::env;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::progress::{Line, Screen};
use crate::servers::control::Control;
use crate::servers::keycloak::Keycloak;
use crate::servers::moto::Moto;

/// The servers of one run; dropping this stops them.
pub(crate) struct Servers {
    keycloak: Option<Arc<Mutex<Keycloak>>>,
    moto: Option<Moto>,
    control: Option<Control>,
    /// How each server fared: its name, and how long it took or why it does not run.
    pub(crate) fates: Vec<(&'static str, Result<Duration, String>)>,
}

impl Servers {
    /// Installs what is missing, starts all servers and waits until each answers; one that does not run spoils no other.
    pub(crate) fn start(layout: &Layout, scratch: &Path, screen: &Screen) -> Self {
        let (keycloak, moto) = thread::scope(|scope| {
            let moto = scope.spawn(|| attempt(screen, "moto", |line| Moto::start(layout, scratch, line)));
            let keycloak = attempt(screen, "keycloak", |line| Keycloak::start(layout, scratch, line));
            (keycloak, moto.join().unwrap_or_else(|_| Err("panicked".to_owned())))
        });
        let mut servers = Self { keycloak: None, moto: None, control: None, fates: Vec::new() };
        let keycloak = keycloak.and_then(|(keycloak, took)| {
            let keycloak = Arc::new(Mutex::new(keycloak));
            servers.control = Some(Control::open(Arc::clone(&keycloak)).map_err(|error| format!("{error:#}"))?);
            servers.keycloak = Some(keycloak);
            Ok(took)
        });
        let moto = moto.map(|(moto, took)| {
            servers.moto = Some(moto);
            took
        });
        servers.fates = vec![("keycloak", keycloak), ("moto", moto)];
        servers
    }

    /// Returns the variables that tell tests where the servers are; those of a missing server are absent.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let Self { keycloak, moto, control, fates: _ } = self;
        let mut pairs = Vec::new();
        if let Some(keycloak) = keycloak {
            let keycloak = keycloak.lock().unwrap_or_else(PoisonError::into_inner);
            pairs.push(("SEKISHO_KEYCLOAK_URL".to_owned(), keycloak.url()));
            pairs.push(("SEKISHO_KEYCLOAK_ADMIN_USER".to_owned(), keycloak::ADMIN.to_owned()));
            pairs.push(("SEKISHO_KEYCLOAK_ADMIN_PASSWORD".to_owned(), keycloak.admin_password().to_owned()));
        }
        if let Some(moto) = moto {
            pairs.push(("SEKISHO_MOTO_URL".to_owned(), moto.url()));
        }
        if let Some(control) = control {
            pairs.push(("SEKISHO_SERVERS_CONTROL".to_owned(), control.address()));
        }
        pairs
    }
}

type Started<T> = Result<(T, Duration), String>;

fn attempt<T>(screen: &Screen, name: &str, start: impl FnOnce(&Line) -> Result<T>) -> Started<T> {
    let line = screen.line(name);
    match start(&line) {
        Ok(server) => Ok((server, line.finish("✓", "answers"))),
        Err(error) => {
            line.finish("✗", "does not run");
            Err(format!("{error:#}"))
        }
    }
}

/// Starts the servers, prints how to reach them and stays until the program is ended.
pub(crate) fn stay(layout: &Layout) -> Result<ExitCode> {
    let scratch = layout.scratch()?;
    let screen = Screen::new();
    let servers = Servers::start(layout, scratch.path(), &screen);
    for (name, fate) in &servers.fates {
        if let Err(reason) = fate {
            eprintln!("{name} does not run: {reason}");
        }
    }
    for (name, value) in servers.environment() {
        println!("export {name}={value}");
    }
    if servers.fates.iter().all(|(_, fate)| fate.is_err()) {
        return Ok(ExitCode::FAILURE);
    }
    eprintln!("Ctrl-C stops them");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Installs the servers without starting them.
pub(crate) fn install(layout: &Layout) -> Result<ExitCode> {
    let screen = Screen::new();
    let line = screen.line("keycloak");
    let folder = keycloak::install(layout, &line)?;
    line.finish("✓", &folder.display().to_string());
    let line = screen.line("moto");
    let folder = moto::install(layout, &line)?;
    line.finish("✓", &folder.display().to_string());
    Ok(ExitCode::SUCCESS)
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
