//! The load: `wrk` where it is installed, else a loop of our own, which costs more of the machine.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use serde_json::{Value, json};

use crate::measure::median;
use crate::report::thousands;

pub const CONNECTIONS: usize = 16;

/// Is what one run on one server showed.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many requests were answered, and how many in a second.
    pub requests: f64,
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Asks for `/orders` with some tokens or cookies in turn.
#[derive(Debug)]
pub struct Load {
    header: &'static str,
    values: Arc<Vec<String>>,
    script: Option<PathBuf>,
}

impl Load {
    /// `name`: of the script for `wrk` in target/bench, one for each load.
    pub fn new(name: &str, tokens: &[String]) -> Self {
        Self::with_header(name, "Authorization", tokens.iter().map(|token| format!("Bearer {token}")).collect())
    }

    /// Sends these values of `Cookie`.
    pub fn with_cookies(name: &str, cookies: Vec<String>) -> Self {
        Self::with_header(name, "Cookie", cookies)
    }

    fn with_header(name: &str, header: &'static str, values: Vec<String>) -> Self {
        let is_installed = Command::new("wrk").arg("--version").output().is_ok();
        let script = is_installed.then(|| write_script(name, header, &values));
        if script.is_none() {
            println!("wrk is not installed (`apt-get install wrk`); a loop of our own asks instead\n");
        }
        Self { header, values: Arc::new(values), script }
    }

    /// Asks one server for some seconds.
    ///
    /// # Panics
    /// When a single answer is not a success: what is measured would be something else.
    pub fn run(&self, port: u16, seconds: u64) -> Sample {
        let (requests, elapsed, p50_us, p99_us) = match &self.script {
            Some(script) => with_wrk(script, port, seconds),
            None => by_ourselves(self.header, &self.values, port, seconds),
        };
        Sample { requests, rate: requests / elapsed, p50_us, p99_us }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.script.is_some() { "wrk, 1 thread" } else { "our own loop" })
    }
}

/// Is something that listens, and the load that it gets.
#[derive(Debug)]
pub struct Asked<'a> {
    pub name: String,
    pub port: u16,
    pub load: &'a Load,
    /// The case without a check, by its place, if there is one of its own beside the first.
    pub unchecked: usize,
}

/// Loads all of them in turn, again and again, prints a table, and returns the lines for machines. The first is the baseline.
pub fn compare(asked: &[Asked<'_>], rounds: usize, seconds: u64) -> Vec<Value> {
    for one in asked {
        // So that caches are full and every case is seen to answer.
        one.load.run(one.port, 1);
    }
    let mut samples: Vec<Vec<Sample>> = asked.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for index in 0..asked.len() {
            let index = (index + round) % asked.len();
            samples[index].push(asked[index].load.run(asked[index].port, seconds));
        }
    }
    println!(
        "| case | requests a second | share of the first | share of unchecked | p50 µs | p99 µs | p99 of the first |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let cut = |value: f64| (value * 1000.0).round() / 1000.0;
    let mut lines = Vec::new();
    for (one, own) in asked.iter().zip(&samples) {
        let over = |pick: fn(&Sample) -> f64| median(own.iter().map(pick).collect());
        // Within each round, then the median.
        let ratio = |other: usize, pick: fn(&Sample) -> f64| {
            median(own.iter().zip(&samples[other]).map(|(own, other)| pick(own) / pick(other)).collect())
        };
        let (rate, p50, p99) = (over(|sample| sample.rate), over(|sample| sample.p50_us), over(|sample| sample.p99_us));
        let (share, unchecked) = (ratio(0, |sample| sample.rate), ratio(one.unchecked, |sample| sample.rate));
        let p99_ratio = ratio(0, |sample| sample.p99_us);
        println!(
            "| {} | {} | {share:.3} | {unchecked:.3} | {p50:.0} | {p99:.0} | {p99_ratio:.2} |",
            one.name,
            thousands(rate)
        );
        lines.push(json!({
            "case": one.name,
            "median_ns": (1e9 / rate).round(),
            "baseline": asked[0].name,
            "ratio": cut(share),
            "allocations": null,
            "requests_per_second": rate.round(),
            "share_of_unchecked": cut(unchecked),
            "p50_us": p50,
            "p99_us": p99,
            "p99_ratio": cut(p99_ratio),
        }));
    }
    lines
}

/// Writes a script that sends the values in turn and prints one line: requests, microseconds, failures, p50, p99.
fn write_script(name: &str, header: &str, values: &[String]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join(format!("{name}.lua"));
    let list: String = values.iter().map(|value| format!("  \"{value}\",\n")).collect();
    let text = format!(
        "local values = {{\n{list}}}\n\
         local requests, at = {{}}, 0\n\
         function init(args)\n\
         \x20 for i, value in ipairs(values) do\n\
         \x20   requests[i] = wrk.format('GET', '/orders', {{ Host = 'localhost', {header} = value }})\n\
         \x20 end\n\
         end\n\
         function request()\n\
         \x20 at = at % #requests + 1\n\
         \x20 return requests[at]\n\
         end\n\
         function done(summary, latency)\n\
         \x20 local errors = summary.errors\n\
         \x20 local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout\n\
         \x20 print('@', summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99))\n\
         end\n"
    );
    fs::write(&script, text).unwrap();
    script
}

fn with_wrk(script: &Path, port: u16, seconds: u64) -> (f64, f64, f64, f64) {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "-s"])
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/orders"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('@')).unwrap_or_else(|| panic!("wrk said:\n{text}"));
    let numbers: Vec<f64> = line.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect();
    let &[requests, micros, failed, p50, p99] = numbers.as_slice() else { panic!("wrk said: {line}") };
    assert!(failed == 0.0 && requests > 0.0, "{failed} of {requests} requests failed");
    (requests, micros / 1e6, p50, p99)
}

fn by_ourselves(header: &'static str, values: &Arc<Vec<String>>, port: u16, seconds: u64) -> (f64, f64, f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut latencies: Vec<u64> = runtime.block_on(async {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(connection(header, Arc::clone(values), Arc::clone(&next), port, end)))
            .collect();
        let mut all = Vec::new();
        for connection in connections {
            all.extend(connection.await.unwrap());
        }
        all
    });
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64;
    (latencies.len() as f64, start.elapsed().as_secs_f64(), at(0.50), at(0.99))
}

/// Asks over one connection until the time is over; returns each answer's microseconds.
async fn connection(
    header: &str,
    values: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    port: u16,
    end: Instant,
) -> Vec<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(1024);
    while Instant::now() < end {
        let value = &values[next.fetch_add(1, Ordering::Relaxed) % values.len()];
        let request = format!("GET /orders HTTP/1.1\r\nHost: localhost\r\n{header}: {value}\r\n\r\n");
        let begin = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        answer.clear();
        // All cases answer two bytes: the head ends, and two bytes later the answer.
        while !answer.ends_with(b"\r\n\r\nok") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0 && answer.len() < 1024, "not the answer awaited");
        }
        latencies.push(begin.elapsed().as_micros() as u64);
    }
    latencies
}
