//! What does a session cost a request, as a share of a service without one?
//!
//! Each case is a process of its own with one worker thread. It logs in a thousand users, and `wrk` asks with their cookies in
//! turn over loopback, again and again. Cases of stores that need a server run where `redis-server` is installed and
//! `SEKISHO_POSTGRES_URL` names a database; what is left out is said.

mod cases;
mod ours;
mod peers;
mod serve;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use sekisho_benches::load::{self, Asked, Load};
use sekisho_benches::process::{Program, Server, find, free_port};
use sekisho_benches::report::write_lines;

use crate::cases::{CASES, Needs};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [serve, case, place] = arguments.as_slice()
        && serve == "--serve"
    {
        serve::serve(case, place);
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    let (rounds, users) = if quick { (1, 20) } else { (9, 1_000) };
    compare(rounds, users, wanted.map_or("", String::as_str));
    ExitCode::SUCCESS
}

/// Runs the cases whose name holds `wanted`, and both baselines.
fn compare(rounds: usize, users: usize, wanted: &str) {
    let redis = Redis::start();
    let postgres = std::env::var("SEKISHO_POSTGRES_URL").ok();
    let scratch = Scratch::new();
    let mut running = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let place = match case.needs {
            Needs::Nothing => Some(String::new()),
            Needs::Redis => redis.as_ref().map(Redis::url),
            Needs::File => Some(scratch.0.join(format!("{number}.db")).display().to_string()),
            Needs::Postgres => postgres.clone(),
        };
        let is_baseline = case.name.starts_with("bare");
        let Some(place) = place else {
            println!("{}: left out, its server is not there", case.name);
            continue;
        };
        if is_baseline || case.name.contains(wanted) {
            let server = Server::start(&["--serve", case.name, &place]);
            let load = Load::with_cookies(&format!("session-{number}"), log_in(server.port, users));
            running.push((case, server, load));
        }
    }
    println!(
        "{users} sessions a case, {} keep-alive connections by {}, 1 server worker thread; {rounds} interleaved rounds of 1 s\n",
        load::CONNECTIONS,
        running[0].2,
    );
    let position = |name: &str| running.iter().position(|(case, ..)| case.name == name).unwrap();
    let asked: Vec<_> = running
        .iter()
        .map(|(case, server, load)| {
            let unchecked = position(if case.is_actix { cases::BARE_ACTIX } else { cases::BARE_AXUM });
            Asked { name: case.name.to_owned(), port: server.port, load, unchecked }
        })
        .collect();
    write_lines("session", &load::compare(&asked, rounds, 1));
}

/// Logs users in, one after the other, and returns the cookies that each of them got.
fn log_in(port: u16, users: usize) -> Vec<String> {
    (0..users).map(|_| cookies(&ask(port, "/login"))).collect()
}

fn ask(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path} was answered with\n{answer}");
    answer
}

fn cookies(answer: &str) -> String {
    let pairs: Vec<_> = answer
        .lines()
        .filter_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")))
        .filter_map(|(_, value)| value.trim().split(';').next())
        .collect();
    // Services without sessions get a cookie of a session's length.
    if pairs.is_empty() { format!("session={}", "x".repeat(64)) } else { pairs.join("; ") }
}

/// Is a Redis of our own, without files.
struct Redis(Program);

impl Redis {
    fn start() -> Option<Self> {
        let program = find("SEKISHO_REDIS", "redis-server", &[])?;
        let port = free_port();
        let arguments = ["--port", &port.to_string(), "--save", "", "--appendonly", "no"];
        Some(Self(Program::start(&program, &[], &arguments, port)))
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.0.port)
    }
}

/// Is a folder that goes with the bench.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("sekisho-bench-session-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
