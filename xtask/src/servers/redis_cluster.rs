//! Redis as a cluster: three masters, each with a replica.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::redis::is_ready;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{program, random_word, ready};

/// In memory; members that are killed come back empty and get their data from whoever is master then.
pub(crate) struct RedisCluster;

const MEMBERS: [&str; 6] =
    ["redis-cluster-1", "redis-cluster-2", "redis-cluster-3", "redis-cluster-4", "redis-cluster-5", "redis-cluster-6"];

impl Server for RedisCluster {
    fn name(&self) -> &'static str {
        "redis-cluster"
    }

    fn install(&self, _: &Layout, _: &Line) -> Result<PathBuf> {
        program::find("redis-server", "redis-server")
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        let password = random_word()?;
        let mut members = Vec::new();
        let mut ports = Vec::new();
        for name in MEMBERS {
            let (port, bus) = (ready::free_port()?, ready::free_port()?);
            let folder = place.scratch.join(name);
            fs::create_dir_all(&folder)?;
            let settings = folder.join("redis.conf");
            program::write_private(&settings, &settings_of(port, bus, &password))?;
            let invocation = Invocation::new(&program).arg(&settings).folder(&folder);
            let secret = password.clone();
            let ready = move || is_ready(port, &secret);
            members.push((name, Resident::start(invocation, place.layout.log(name), port, ready, line)?));
            ports.push(port);
        }
        line.say("making a cluster");
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let make = Invocation::new(program::find("redis-cli", "redis-tools")?)
            // Not in the command line, which everybody on the machine can read.
            .env("REDISCLI_AUTH", &password)
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"]);
        process::must(&make, &place.layout.log(self.name()), line, &|| None)?;
        wait_until_whole(&ports, &password)?;
        let urls: Vec<String> =
            ports.iter().map(|port| format!("redis://default:{password}@127.0.0.1:{port}")).collect();
        Ok(Running::several(members).with("SEKISHO_REDIS_CLUSTER_URLS", urls.join(" ")))
    }
}

fn settings_of(port: u16, bus: u16, password: &str) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\ncluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\n\
         requirepass {password}\nmasterauth {password}\nsave \"\"\nappendonly no\ndaemonize no\n\
         repl-diskless-sync-delay 0\n"
    )
}

fn wait_until_whole(ports: &[u16], password: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let question = format!("AUTH {password}\r\nCLUSTER INFO\r\nQUIT\r\n");
    let knows_all = |port: u16| {
        let answer = ready::ask(port, &question, 4096).unwrap_or_default();
        let answer = String::from_utf8_lossy(&answer);
        answer.contains("cluster_state:ok") && answer.contains(&format!("cluster_known_nodes:{}", ports.len()))
    };
    while !ports.iter().all(|port| knows_all(*port)) {
        ensure!(Instant::now() < deadline, "the cluster does not come together");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
