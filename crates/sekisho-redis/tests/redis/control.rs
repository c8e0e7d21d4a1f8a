//! Kills servers and starts them again, through the program that runs them; and talks to them directly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};

use crate::setup::variable;

/// Takes orders about the servers that `cargo xtask` started.
#[derive(Clone)]
pub(crate) struct Control {
    address: String,
    token: String,
}

impl Control {
    /// Returns `None`, after a line that says so, when there is none.
    pub(crate) fn reach(test: &str) -> Option<Self> {
        let whole = variable("SEKISHO_SERVERS_CONTROL", test)?;
        let (address, token) = whole.rsplit_once(':').expect("HOST:PORT:TOKEN");
        Some(Self { address: address.to_owned(), token: token.to_owned() })
    }

    /// Kills `server`. It is started again at the latest when the outage is dropped, also by a test that fails.
    pub(crate) fn kill(&self, server: &str) -> Outage {
        let outage = Outage { control: self.clone(), server: server.to_owned(), is_over: false };
        outage.order("stop").expect("it is stopped");
        outage
    }
}

/// A server is dead.
pub(crate) struct Outage {
    control: Control,
    server: String,
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

/// Talks to one server, past everything that is tested.
pub(crate) struct Direct(Connection);

impl Direct {
    pub(crate) fn to(url: &str) -> Self {
        Self::reach(url).expect("Redis listens")
    }

    /// Returns `None` when nobody listens.
    pub(crate) fn reach(url: &str) -> Option<Self> {
        redis::Client::open(url).expect("a URL").get_connection().ok().map(Self)
    }

    pub(crate) fn ask<T: FromRedisValue>(&mut self, words: &[&[u8]]) -> Result<T, redis::RedisError> {
        let (name, rest) = words.split_first().expect("a command");
        let mut command = redis::cmd(std::str::from_utf8(name).expect("a name"));
        for word in rest {
            command.arg(*word);
        }
        command.query(&mut self.0)
    }

    pub(crate) fn must<T: FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        self.ask(words).expect("Redis obeys")
    }

    /// Returns all keys that begin with `prefix`.
    pub(crate) fn keys(&mut self, prefix: &str) -> Vec<String> {
        self.must(&[b"KEYS", format!("{prefix}:*").as_bytes()])
    }
}

/// Waits until `is_so`, for as long as that may take, and returns how long it took.
pub(crate) async fn wait_until(what: &str, most: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < most, "{what}: not within {most:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begin.elapsed()
}
