//! What does a guarded axum service answer, as a share of the bare one?
//!
//! Each case is a process of its own with one worker thread; `wrk` asks them in turn over loopback, again and again, with
//! the same thousand tokens.

mod cases;
mod serve;

use std::process::ExitCode;

use sekisho_benches::claims::{ISSUER, claims};
use sekisho_benches::keys::{Alg, BenchKey};
use sekisho_benches::load::{self, Load};
use sekisho_benches::measure::median;
use sekisho_benches::process::Server;
use sekisho_benches::report::{thousands, write_lines};
use serde_json::{Value, json};

use crate::cases::CASES;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [serve, case, key_set] = arguments.as_slice()
        && serve == "--serve"
    {
        serve::serve(case, key_set);
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (rounds, seconds, tokens) = if quick { (1, 1, 20) } else { (15, 2, 1_000) };
    compare(rounds, seconds, tokens);
    ExitCode::SUCCESS
}

fn compare(rounds: usize, seconds: u64, tokens: usize) {
    let key = BenchKey::generate(Alg::Rs256);
    let tokens: Vec<_> = (0..tokens).map(|number| key.token(&claims(ISSUER, number))).collect();
    let load = Load::new("http", &tokens);
    let servers: Vec<_> = CASES.iter().map(|case| Server::start(&["--serve", case, &key.key_set()])).collect();
    println!(
        "{} RS256 tokens of {} bytes, {} keep-alive connections by {load}, 1 server worker thread; {rounds} interleaved rounds of {seconds} s\n",
        tokens.len(),
        tokens[0].len(),
        load::CONNECTIONS,
    );
    for server in &servers {
        // So that caches are full and every case is seen to answer.
        load.run(server.port, 1);
    }
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for index in 0..servers.len() {
            let index = (index + round) % servers.len();
            samples[index].push(Sample::take(&load, &servers[index], seconds));
        }
    }
    let rows: Vec<_> = samples.iter().map(|own| Row::new(own, &samples[0])).collect();
    println!(
        "| case | requests a second | share of bare | server CPU µs a request | CPU of bare | p50 µs | p99 µs | p99 of bare |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (case, row) in CASES.iter().zip(&rows) {
        println!(
            "| {case} | {} | {:.3} | {:.1} | {:.2} | {:.0} | {:.0} | {:.2} |",
            thousands(row.rate),
            row.share,
            row.cpu,
            row.cpu_ratio,
            row.p50,
            row.p99,
            row.p99_ratio,
        );
    }
    write_lines("http", &CASES.iter().zip(&rows).map(|(case, row)| row.line(case)).collect::<Vec<_>>());
}

/// Is what one run on one server showed.
struct Sample {
    load: load::Sample,
    cpu_us: f64,
}

impl Sample {
    fn take(load: &Load, server: &Server, seconds: u64) -> Self {
        let before = server.cpu();
        let load = load.run(server.port, seconds);
        let cpu = server.cpu().saturating_sub(before);
        Self { load, cpu_us: cpu.as_secs_f64() * 1e6 / load.requests }
    }
}

/// Medians over the rounds; ratios are taken within each round, then their median.
struct Row {
    rate: f64,
    share: f64,
    cpu: f64,
    cpu_ratio: f64,
    p50: f64,
    p99: f64,
    p99_ratio: f64,
}

impl Row {
    fn new(own: &[Sample], bare: &[Sample]) -> Self {
        let over = |pick: fn(&Sample) -> f64| median(own.iter().map(pick).collect());
        let ratio =
            |pick: fn(&Sample) -> f64| median(own.iter().zip(bare).map(|(own, bare)| pick(own) / pick(bare)).collect());
        Self {
            rate: over(|sample| sample.load.rate),
            share: ratio(|sample| sample.load.rate),
            cpu: over(|sample| sample.cpu_us),
            cpu_ratio: ratio(|sample| sample.cpu_us),
            p50: over(|sample| sample.load.p50_us),
            p99: over(|sample| sample.load.p99_us),
            p99_ratio: ratio(|sample| sample.load.p99_us),
        }
    }

    fn line(&self, case: &str) -> Value {
        let cut = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "case": case,
            "median_ns": (1e9 / self.rate).round(),
            "baseline": CASES[0],
            "ratio": cut(self.share),
            "allocations": null,
            "requests_per_second": self.rate.round(),
            "cpu_us": cut(self.cpu),
            "cpu_ratio": cut(self.cpu_ratio),
            "p50_us": self.p50,
            "p99_us": self.p99,
            "p99_ratio": cut(self.p99_ratio),
        })
    }
}
