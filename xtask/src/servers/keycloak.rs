//! Keycloak with our realm, on a file database, so that it comes back as it was after a kill.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{cached, random_word, ready};

const ADMIN: &str = "admin";

const VERSION: &str = "26.7.3";
/// Of keycloak-quarkus-dist-26.7.3.zip as Maven Central has it; its published SHA-1 is
/// 1e21a7f572581692aacb379dbba8413f99b67208, which Maven checks.
const SHA256: &str = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f";
const SIZE: u64 = 176_710_367;
/// Its experimental decision point by AuthZEN.
const FEATURES: &str = "authzen";
const DISCOVERY: &str = "/realms/sekisho/.well-known/openid-configuration";

/// Keeps its database in its own folder, so each run gets a copy of the installation.
pub(crate) struct Keycloak;

impl Server for Keycloak {
    fn name(&self) -> &'static str {
        "keycloak"
    }

    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        let home = layout.cache.join(format!("servers/keycloak-{VERSION}-{FEATURES}"));
        cached::once(&home, line, || fetch(layout, &home, line))?;
        Ok(home)
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let Place { layout, scratch } = place;
        let installed = self.install(layout, line)?;
        let home = scratch.join("keycloak");
        let log = layout.log("keycloak");
        line.say("copying");
        let copy = Invocation::new("cp").arg("-R").arg(&installed).arg(&home);
        process::must(&copy, &log, line, &|| None)?;
        let import = home.join("data/import");
        fs::create_dir_all(&import)?;
        let realm = layout.root.join("tests/servers/keycloak/realm.json");
        fs::copy(&realm, import.join("realm.json")).with_context(|| format!("cannot copy {}", realm.display()))?;
        let (port, password) = (ready::free_port()?, random_word()?);
        let invocation = Invocation::new(home.join("bin/kc.sh"))
            .args(["start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1"])
            .arg(format!("--http-port={port}"))
            .args(["--hostname-strict=false", "--cache=local", "--import-realm"])
            // What a test changed must still be there after a kill a moment later.
            .arg("--db-url-properties=;WRITE_DELAY=0")
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", &password)
            // The second compiler never pays for itself in a run of minutes.
            .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1");
        let resident = Resident::start(invocation, log, port, move || ready::answers_ok(port, DISCOVERY), line)?;
        Ok(Running::new(resident)
            .with("SEKISHO_KEYCLOAK_URL", format!("http://127.0.0.1:{port}"))
            .with("SEKISHO_KEYCLOAK_ADMIN_USER", ADMIN)
            .with("SEKISHO_KEYCLOAK_ADMIN_PASSWORD", password))
    }
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
    let build = Invocation::new(unpacked.join("bin/kc.sh"))
        .args(["build", "--db=dev-file"])
        .arg(format!("--features={FEATURES}"));
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
