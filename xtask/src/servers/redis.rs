//! Redis: one process, in memory, behind a password that is new in each run.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::layout::Layout;
use crate::process::Invocation;
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{program, random_word, ready};

/// Loses everything when it is killed.
pub(crate) struct Redis;

impl Server for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn install(&self, _: &Layout, _: &Line) -> Result<PathBuf> {
        program::find("redis-server", "redis-server")
    }

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let program = self.install(place.layout, line)?;
        let (port, password) = (ready::free_port()?, random_word()?);
        let folder = place.scratch.join("redis");
        fs::create_dir_all(&folder)?;
        // A file, because everybody on the machine can read a command line.
        let settings = folder.join("redis.conf");
        program::write_private(&settings, &settings_of(port, &password))?;
        let invocation = Invocation::new(program).arg(&settings).folder(&folder);
        let url = format!("redis://default:{password}@127.0.0.1:{port}/0");
        let resident =
            Resident::start(invocation, place.layout.log("redis"), port, move || is_ready(port, &password), line)?;
        Ok(Running::new(resident).with("SEKISHO_REDIS_URL", url))
    }
}

fn settings_of(port: u16, password: &str) -> String {
    format!("bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\n")
}

pub(crate) fn is_ready(port: u16, password: &str) -> bool {
    let answer = ready::ask(port, &format!("AUTH {password}\r\nPING\r\nQUIT\r\n"), 64);
    answer.is_some_and(|answer| answer.starts_with(b"+OK\r\n+PONG\r\n"))
}
