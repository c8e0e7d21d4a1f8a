//! Keycloak with our realm, on a file database, so that it comes back as it was after a kill.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::layout::Layout;
use crate::process::{self, Group, Invocation};
use crate::progress::{Line, Screen};
use crate::servers::{cached, random_word, ready};

pub(crate) const ADMIN: &str = "admin";

const VERSION: &str = "26.7.3";
/// Of keycloak-quarkus-dist-26.7.3.zip as Maven Central has it; its published SHA-1 is
/// 1e21a7f572581692aacb379dbba8413f99b67208, which Maven checks.
const SHA256: &str = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f";
const SIZE: u64 = 176_710_367;
const DISCOVERY: &str = "/realms/sekisho/.well-known/openid-configuration";

/// A Keycloak of one run: a copy of the installation, its database and, most of the time, its process.
pub(crate) struct Keycloak {
    home: PathBuf,
    log: PathBuf,
    port: u16,
    admin_password: String,
    process: Option<Group>,
}

impl Keycloak {
    pub(crate) fn start(layout: &Layout, scratch: &Path, line: &Line) -> Result<Self> {
        let installed = install(layout, line)?;
        let home = scratch.join("keycloak");
        let log = layout.log("keycloak");
        // Keycloak keeps its database in its own folder, so each run gets a copy.
        line.say("copying");
        let copy = Invocation::new("cp").arg("-R").arg(&installed).arg(&home);
        process::must(&copy, &log, line, &|| None)?;
        let import = home.join("data/import");
        fs::create_dir_all(&import)?;
        let realm = layout.root.join("tests/servers/keycloak/realm.json");
        fs::copy(&realm, import.join("realm.json")).with_context(|| format!("cannot copy {}", realm.display()))?;
        let mut keycloak = Self { home, log, port: ready::free_port()?, admin_password: random_word()?, process: None };
        keycloak.launch(line)?;
        Ok(keycloak)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn admin_password(&self) -> &str {
        &self.admin_password
    }

    /// Kills the process hard; returns when the port is silent.
    pub(crate) fn stop(&mut self) -> Result<()> {
        drop(self.process.take());
        ready::wait_gone(self.port)
    }

    /// Starts the process again on the same port with the same database; returns when discovery answers.
    pub(crate) fn resume(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Group::is_running) {
            return Ok(());
        }
        self.launch(&Screen::silent().line("keycloak"))
    }

    fn launch(&mut self, line: &Line) -> Result<()> {
        let invocation = Invocation::new(self.home.join("bin/kc.sh"))
            .args(["start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1"])
            .arg(format!("--http-port={}", self.port))
            .args(["--hostname-strict=false", "--cache=local", "--import-realm"])
            // What a test changed must still be there after a kill a moment later.
            .arg("--db-url-properties=;WRITE_DELAY=0")
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", &self.admin_password)
            // The second compiler never pays for itself in a run of minutes.
            .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1");
        let mut group = Group::serve(&invocation, &self.log)?;
        ready::wait(&mut group, self.port, DISCOVERY, &self.log, line)?;
        self.process = Some(group);
        Ok(())
    }
}

/// Installs Keycloak into the cache and returns its folder.
pub(crate) fn install(layout: &Layout, line: &Line) -> Result<PathBuf> {
    let home = layout.cache.join(format!("servers/keycloak-{VERSION}"));
    cached::once(&home, line, || fetch(layout, &home, line))?;
    Ok(home)
}

fn fetch(layout: &Layout, home: &Path, line: &Line) -> Result<()> {
    let log = layout.log("keycloak-install");
    let partial = home.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    let fetch = Invocation::new("mvn")
        .args(["-q", "-B", "--strict-checksums", "dependency:copy", "-Dmdep.useBaseVersion=true"])
        .arg(format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"))
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .folder(&partial);
    process::must(&fetch, &log, line, &downloaded)?;
    let archive = partial.join(format!("keycloak-quarkus-dist-{VERSION}.zip"));
    line.say("checking the archive");
    let sum = process::must(&Invocation::new("sha256sum").arg(&archive), &log, line, &|| None)?;
    if !sum.stdout.starts_with(SHA256) {
        bail!("{} is not the expected file: {}", archive.display(), sum.stdout.trim());
    }
    line.say("unpacking");
    let unpack = Invocation::new("unzip").arg("-q").arg(&archive).arg("-d").arg(&partial);
    process::must(&unpack, &log, line, &|| None)?;
    let unpacked = partial.join(format!("keycloak-{VERSION}"));
    // Done once here, this saves each start some twenty seconds.
    let build = Invocation::new(unpacked.join("bin/kc.sh")).args(["build", "--db=dev-file"]);
    process::must(&build, &log, line, &|| None)?;
    fs::rename(unpacked, home)?;
    fs::remove_dir_all(partial)?;
    Ok(())
}

/// Says how much of the archive Maven has, from the size of the file that it writes.
fn downloaded() -> Option<String> {
    let folder =
        PathBuf::from(env::var_os("HOME")?).join(".m2/repository/org/keycloak/keycloak-quarkus-dist").join(VERSION);
    let largest = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).max()?;
    Some(format!("downloading: {} of {} MB", largest / 1_000_000, SIZE / 1_000_000))
}
