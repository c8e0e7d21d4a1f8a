//! Redis behind sentinels: a master, a replica, and three sentinels that watch them.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Line;
use crate::servers::redis::is_ready;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{program, random_word, ready};

/// In memory; who is killed comes back empty and gets its data from whoever is master then.
pub(crate) struct RedisSentinel;

const MASTER: &str = "main";
const DATA: [&str; 2] = ["redis-main-1", "redis-main-2"];
const SENTINELS: [&str; 3] = ["redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3"];

impl Server for RedisSentinel {
    fn name(&self) -> &'static str {
        "redis-sentinel"
    }

    fn install(&self, _: &Layout, _: &Line) -> Result<PathBuf> {
        program::find("redis-server", "redis-server")
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        let (password, guard) = (random_word()?, random_word()?);
        let mut members = Vec::new();
        let mut start = |name: &'static str, port: u16, settings: &str, secret: &str| -> Result<()> {
            let folder = place.scratch.join(name);
            fs::create_dir_all(&folder)?;
            // Sentinels write down there whom they follow.
            let file = folder.join("redis.conf");
            program::write_private(&file, settings)?;
            let mut invocation = Invocation::new(&program).arg(&file);
            if SENTINELS.contains(&name) {
                invocation = invocation.arg("--sentinel");
            }
            let secret = secret.to_owned();
            let ready = move || is_ready(port, &secret);
            let invocation = invocation.folder(&folder);
            members.push((name, Resident::start(invocation, place.layout.log(name), port, ready, line)?));
            Ok(())
        };
        let [master, replica] = [ready::free_port()?, ready::free_port()?];
        let [first, second] = DATA;
        start(first, master, &data_settings(master, &password, None), &password)?;
        start(second, replica, &data_settings(replica, &password, Some(master)), &password)?;
        let mut sentinels = Vec::new();
        for name in SENTINELS {
            let port = ready::free_port()?;
            start(name, port, &sentinel_settings(port, master, &password, &guard), &guard)?;
            sentinels.push(port);
        }
        line.say("waiting for the sentinels");
        wait_until_watched(&sentinels, &guard)?;
        let urls = |ports: &[u16], secret: &str| {
            let urls = ports.iter().map(|port| format!("redis://:{secret}@127.0.0.1:{port}"));
            urls.collect::<Vec<_>>().join(" ")
        };
        Ok(Running::several(members)
            .with("SEKISHO_REDIS_SENTINEL_URLS", urls(&sentinels, &guard))
            .with("SEKISHO_REDIS_SENTINEL_MASTER", MASTER)
            .with("SEKISHO_REDIS_SENTINEL_DATA_URLS", urls(&[master, replica], &password)))
    }
}

fn data_settings(port: u16, password: &str, of: Option<u16>) -> String {
    let replica = of.map_or_else(String::new, |master| format!("replicaof 127.0.0.1 {master}\n"));
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\nmasterauth {password}\nsave \"\"\nappendonly no\n\
         daemonize no\nrepl-diskless-sync-delay 0\n{replica}"
    )
}

fn sentinel_settings(port: u16, master: u16, password: &str, guard: &str) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\ndaemonize no\nrequirepass {guard}\nsentinel sentinel-pass {guard}\n\
         sentinel monitor {MASTER} 127.0.0.1 {master} 2\nsentinel auth-pass {MASTER} {password}\n\
         sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 4000\n"
    )
}

/// Waits until each sentinel knows the replica and the two others, without whom no failover is decided.
fn wait_until_watched(ports: &[u16], guard: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    // Sentinels know no QUIT, but hang up on whoever breaks the protocol.
    let question = format!("AUTH {guard}\r\nSENTINEL MASTER {MASTER}\r\n*hang up\r\n");
    let knows_all = |port: u16| {
        let answer = ready::ask(port, &question, 8192).unwrap_or_default();
        let answer = String::from_utf8_lossy(&answer);
        let has = |name: &str, value: &str| answer.contains(&format!("{name}\r\n$1\r\n{value}\r\n"));
        has("num-slaves", "1") && has("num-other-sentinels", "2")
    };
    while !ports.iter().all(|port| knows_all(*port)) {
        ensure!(Instant::now() < deadline, "the sentinels do not find each other");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
