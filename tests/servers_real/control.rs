//! Kills a server and starts it again, through the program that runs it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::setup;

/// Takes orders about the servers that `cargo xtask` started.
#[derive(Clone)]
pub(crate) struct Control {
    address: String,
    token: String,
}

impl Control {
    /// Returns `None`, after a line that says so, when there is none.
    pub(crate) fn reach(test: &str) -> Option<Self> {
        let whole = setup::variable("SEKISHO_SERVERS_CONTROL", test)?;
        let (address, token) = whole.rsplit_once(':').expect("HOST:PORT:TOKEN");
        Some(Self { address: address.to_owned(), token: token.to_owned() })
    }

    /// Kills `server`, as a power cut would. It is started again at the latest when the outage is dropped, also by a
    /// test that fails.
    pub(crate) fn kill(&self, server: &'static str) -> Outage {
        let outage = Outage { control: self.clone(), server, is_over: false };
        outage.order("stop").expect("it is stopped");
        outage
    }
}

/// A server is dead.
pub(crate) struct Outage {
    control: Control,
    server: &'static str,
    is_over: bool,
}

impl Outage {
    /// Starts the server and returns when it is ready.
    pub(crate) fn end(mut self) {
        self.is_over = true;
        self.order("start").expect("it is started");
    }

    fn order(&self, verb: &str) -> Result<(), String> {
        let Self { control, server, is_over: _ } = self;
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&control.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(300)))?;
            stream.write_all(format!("{} {server} {verb}\n", control.token).as_bytes())?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        };
        match exchange() {
            Ok(line) if line == "ok\n" => Ok(()),
            other => Err(format!("{server} {verb}: {other:?}")),
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if !self.is_over {
            // The test fails already; the others should not fail with it.
            let _ = self.order("start");
        }
    }
}
