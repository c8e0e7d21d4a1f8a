//! PostgreSQL: a cluster of this run alone, behind a password that is new in each run.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::layout::{Layout, Scratch};
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{program, random_word, ready};

const USER: &str = "sekisho";
/// The server refuses to run as root; this account comes with Debian's package.
const ACCOUNT: &str = "postgres";

/// Keeps what was committed when it is killed.
pub(crate) struct Postgresql;

impl Server for Postgresql {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    /// Finds the folder of the programs, of the newest version that is there.
    fn install(&self, _: &Layout, _: &Line) -> Result<PathBuf> {
        newest(Path::new("/usr/lib/postgresql")).map_or_else(|| parent_of(program::find("postgres", "postgresql")?), Ok)
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let programs = self.install(place.layout, line)?;
        let log = place.layout.log("postgresql");
        let (folder, outside) = home(place, &log, line)?;
        let (port, password) = (ready::free_port()?, random_word()?);
        let secret = folder.join("password");
        program::write_private(&secret, &password)?;
        if program::is_root() {
            process::must(&Invocation::new("chown").arg("-R").arg(ACCOUNT).arg(&folder), &log, line, &|| None)?;
        }
        let data = folder.join("data");
        line.say("making a cluster");
        let make = as_account(programs.join("initdb"))
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
            .arg(format!("--username={USER}"))
            .arg("--pwfile")
            .arg(&secret)
            .arg("--pgdata")
            .arg(&data)
            .folder(&folder);
        process::must(&make, &log, line, &|| None)?;
        fs::remove_file(secret)?;
        let serve = as_account(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(port.to_string())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            // A kill loses nothing that the kernel has; only a power cut would.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .folder(&folder);
        let status = data.join("postmaster.pid");
        let resident = Resident::start(serve, log, port, move || is_ready(&status, port), line)?;
        let resident = resident.with_clear(move || clear(&data));
        let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres");
        Ok(Running::new(resident).with("SEKISHO_POSTGRES_URL", url).with_folder(outside))
    }
}

/// Makes a folder that the server's account can enter: in the run's own, or, when that lies in root's home, elsewhere.
fn home(place: &Place<'_>, log: &Path, line: &Line) -> Result<(PathBuf, Option<Scratch>)> {
    let enter = as_account("test").arg("-x").arg(place.scratch);
    let limit = Duration::from_secs(60);
    if !process::run(&enter, log, line, limit, &|| None)?.success() {
        let outside = Scratch::make(&std::env::temp_dir(), "sekisho-postgresql")?;
        return Ok((outside.path().to_path_buf(), Some(outside)));
    }
    let folder = place.scratch.join("postgresql");
    fs::create_dir(&folder)?;
    Ok((folder, None))
}

/// Begins a command that does not run as root.
fn as_account(program: impl Into<OsString>) -> Invocation {
    if !program::is_root() {
        return Invocation::new(program);
    }
    Invocation::new("setpriv")
        .arg(format!("--reuid={ACCOUNT}"))
        .arg(format!("--regid={ACCOUNT}"))
        .args(["--init-groups", "--"])
        .arg(program)
}

/// Returns `FOLDER/VERSION/bin` of the highest version.
fn newest(folder: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        programs.join("postgres").exists().then_some((version, programs))
    });
    Some(versions.max_by_key(|(version, _)| *version)?.1)
}

fn parent_of(program: PathBuf) -> Result<PathBuf> {
    Ok(fs::canonicalize(program)?.parent().context("a program lies in a folder")?.to_path_buf())
}

/// Says whether the server listens and calls itself ready; a file that a killed one left calls it so too.
fn is_ready(status: &Path, port: u16) -> bool {
    ready::is_open(port) && says_ready(&fs::read_to_string(status).unwrap_or_default(), port)
}

/// Reads what the server writes about itself; the eighth line tells how far it is, the fourth at which port.
fn says_ready(status: &str, port: u16) -> bool {
    let line = |index: usize| status.lines().nth(index).unwrap_or_default().trim();
    line(3) == port.to_string() && line(7) == "ready"
}

/// Waits until the last helper of a killed server has noticed, then removes the lock that it left.
///
/// The server would take a lock whose process is dead but not yet reaped for one that is held.
fn clear(data: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while works_in(data) {
        ensure!(Instant::now() < deadline, "a process of the killed server is still there");
        thread::sleep(Duration::from_millis(10));
    }
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says whether a living process has this folder as its own, which all processes of a cluster have.
fn works_in(folder: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok()).any(|place| place == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sekisho-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn takes_the_highest_version_that_has_a_server() {
        let folder = folder("versions");
        for version in ["9", "15", "17", "common"] {
            fs::create_dir_all(folder.join(version).join("bin")).unwrap();
        }
        assert_eq!(newest(&folder), None);
        for version in ["9", "15"] {
            fs::write(folder.join(version).join("bin/postgres"), "").unwrap();
        }
        assert_eq!(newest(&folder), Some(folder.join("15/bin")));
        assert_eq!(newest(&folder.join("absent")), None);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn is_ready_when_the_server_says_so_of_this_port() {
        let says = |port: u16, state: &str| {
            let status = format!("4711\n/data\n1800000000\n{port}\n\n127.0.0.1\n  5243 21\n{state}\n");
            says_ready(&status, 5432)
        };
        assert!(says(5432, "ready   "));
        assert!(!says(5432, "starting"));
        assert!(!says(5432, "stopping"));
        assert!(!says(5433, "ready   "));
        assert!(!says_ready("4711\n/data\n", 5432));
        assert!(!says_ready("", 5432));
    }

    #[test]
    fn is_not_ready_where_nobody_listens_whatever_a_file_says() {
        let folder = folder("postmaster");
        let (status, port) = (folder.join("postmaster.pid"), ready::free_port().unwrap());
        fs::write(&status, format!("4711\n/data\n1800000000\n{port}\n\n127.0.0.1\n  5243 21\nready\n")).unwrap();
        assert!(!is_ready(&status, port));
        let _listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(is_ready(&status, port));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_lock_is_removed_when_nobody_works_in_the_cluster_any_more() {
        let folder = folder("lock");
        let lock = folder.join("postmaster.pid");
        fs::write(&lock, "4711\n").unwrap();
        let mut helper = std::process::Command::new("sleep").arg("0.3").current_dir(&folder).spawn().unwrap();
        assert!(works_in(&folder));
        clear(&folder).unwrap();
        assert!(!lock.exists());
        assert!(!works_in(&folder), "it waited");
        clear(&folder).unwrap();
        helper.wait().unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}
