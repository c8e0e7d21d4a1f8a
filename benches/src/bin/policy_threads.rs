//! Do two threads decide twice as much as one? In one process, without HTTP, without counting allocations, which would be what
//! the threads wait for.
//!
//! Two threads share a decider, or each has its own: what the second way reaches is what this machine's two cores have for anybody.
//! Either way each thread has principals and orders of its own, as each request has; where the decider is shared, they are equal to
//! those of the other, so that both find what is remembered.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use sekisho_benches::decisions::{Asked, Named, cached, cedar, cedar_policies, owner_or_clerk, rego, remote};
use sekisho_benches::measure::median;
use sekisho_benches::report::{thousands, write_lines};
use sekisho_core::Authorize;
use serde_json::{Value, json};

/// How many questions are asked in turn.
const QUESTIONS: usize = 1_000;
/// How many decisions are made between two looks at the clock.
const BETWEEN: u32 = 16;

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, slice) = if quick { (3, Duration::from_millis(20)) } else { (31, Duration::from_millis(100)) };
    let [one, other] = [Side::new(), Side::new()];
    println!("{QUESTIONS} questions in turn; {rounds} interleaved rounds of {} ms a case\n", slice.as_millis());
    println!(
        "| decider | decisions a second, 1 thread | 2 threads share one | times | 2 threads, one each | times | share of that |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let mut samples: Vec<Vec<[f64; 3]>> = one.deciders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (number, samples) in samples.iter_mut().enumerate() {
            let (decider, others) = (&*one.deciders[number].decider, &*other.deciders[number].decider);
            samples.push([
                run(slice, &[(decider, &one.asked, 0)]),
                run(slice, &[(decider, &one.asked, 0), (decider, &one.asked_too, QUESTIONS / 2)]),
                run(slice, &[(decider, &one.asked, 0), (others, &other.asked, 0)]),
            ]);
        }
    }
    let mut lines = Vec::new();
    for (decider, samples) in one.deciders.iter().zip(&samples) {
        let of = |pick: &dyn Fn(&[f64; 3]) -> f64| median(samples.iter().map(pick).collect());
        let rates = [0, 1, 2].map(|way| of(&|sample: &[f64; 3]| sample[way]));
        let (shared, own) = (of(&|sample| sample[1] / sample[0]), of(&|sample| sample[2] / sample[0]));
        let share = of(&|sample| sample[1] / sample[2]);
        println!(
            "| {} | {} | {} | {shared:.2} | {} | {own:.2} | {share:.2} |",
            decider.name,
            thousands(rates[0]),
            thousands(rates[1]),
            thousands(rates[2]),
        );
        for (way, rate, ratio) in [
            ("1 thread", rates[0], 1.0),
            ("2 threads share one", rates[1], shared),
            ("2 threads, one each", rates[2], own),
        ] {
            lines.push(line(decider.name, way, rate, ratio));
        }
    }
    write_lines("policy_threads", &lines);
    ExitCode::SUCCESS
}

/// Is what one thread could have for itself: a decider of each kind, and questions.
struct Side {
    asked: Vec<Asked>,
    /// The same questions for a second thread.
    asked_too: Vec<Asked>,
    deciders: Vec<Named>,
}

impl Side {
    fn new() -> Self {
        let (asked, asked_too): (Vec<_>, Vec<_>) =
            (0..QUESTIONS).map(|number| <(_, _)>::from(Asked::twice(number))).unzip();
        let deciders = vec![
            Named { name: "a rule in Rust", decider: Arc::new(owner_or_clerk()) },
            Named { name: "Cedar, 1,000 policies", decider: Arc::new(cedar(&cedar_policies(1_000))) },
            Named { name: "Rego", decider: Arc::new(rego()) },
            Named { name: "remembered", decider: Arc::new(cached(remote("http://127.0.0.1:1"), &asked)) },
        ];
        Self { asked, asked_too, deciders }
    }
}

/// Lets as many threads decide for a while as there are parts, and returns the decisions a second of all.
///
/// - `parts`: the decider, the questions, and with which of them it begins.
fn run(slice: Duration, parts: &[(&dyn Authorize, &[Asked], usize)]) -> f64 {
    let barrier = Barrier::new(parts.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .iter()
            .map(|&(decider, asked, from)| {
                let barrier = &barrier;
                scope.spawn(move || decide(slice, barrier, decider, asked, from))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn decide(slice: Duration, barrier: &Barrier, decider: &dyn Authorize, asked: &[Asked], from: usize) -> f64 {
    let (mut at, mut decided) = (from, 0_u32);
    barrier.wait();
    let start = Instant::now();
    while start.elapsed() < slice {
        for _ in 0..BETWEEN {
            at = (at + 7) % asked.len();
            let outcome = black_box(decider.decide_now(&asked[at].request()));
            // What is remembered is so for a minute, and all of this takes less.
            assert!(outcome.expect("an answer without waiting").unwrap().is_permitted());
            decided += 1;
        }
    }
    f64::from(decided) / start.elapsed().as_secs_f64()
}

fn line(decider: &str, way: &str, rate: f64, ratio: f64) -> Value {
    json!({
        "case": format!("{decider}: {way}"),
        "median_ns": (1e9 / rate * 10.0).round() / 10.0,
        "baseline": format!("{decider}: 1 thread"),
        "ratio": (ratio * 1000.0).round() / 1000.0,
        "allocations": null,
        "decisions_per_second": rate.round(),
    })
}
