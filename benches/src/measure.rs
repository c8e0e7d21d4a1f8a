//! Interleaved rounds: every case runs for about a millisecond in turn, again and again, so that what else the machine
//! does hits all of them alike.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::ALLOCATOR;

/// How long one case runs in one round.
const SLICE: Duration = Duration::from_micros(1_000);

/// Is one thing to be measured, against another one of the same run.
pub struct Case<'a> {
    name: String,
    baseline: String,
    run: Box<dyn FnMut() + 'a>,
    iterations: u32,
    rounds: Vec<f64>,
    allocations: f64,
}

/// Is what came out for one case.
#[derive(Clone, Debug)]
pub struct Row {
    pub case: String,
    pub baseline: String,
    /// Nanoseconds of one call: the smallest and the median of all rounds.
    pub min_ns: f64,
    pub median_ns: f64,
    /// How many times the baseline's time it took: the median of the ratios within each round.
    pub ratio: f64,
    /// Calls of the allocator for memory, new or moved, in one call.
    pub allocations: f64,
}

impl<'a> Case<'a> {
    /// Describes a case; what `run` returns is kept from the optimizer.
    pub fn new<T>(name: impl Into<String>, baseline: impl Into<String>, mut run: impl FnMut() -> T + 'a) -> Self {
        Self {
            name: name.into(),
            baseline: baseline.into(),
            run: Box::new(move || {
                black_box(run());
            }),
            iterations: 1,
            rounds: Vec::new(),
            allocations: 0.0,
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs for this long, measuring nothing.
    pub fn spin(&mut self, duration: Duration) {
        let start = Instant::now();
        while start.elapsed() < duration {
            (self.run)();
        }
    }

    fn calibrate(&mut self) {
        // Warm up, then count allocations, then see how often it fits into a slice.
        for _ in 0..20 {
            (self.run)();
        }
        let before = ALLOCATOR.stats();
        for _ in 0..10 {
            (self.run)();
        }
        let after = ALLOCATOR.stats();
        let calls = (after.allocations - before.allocations) + (after.reallocations - before.reallocations);
        self.allocations = calls as f64 / 10.0;
        let start = Instant::now();
        let mut done = 0_u32;
        while start.elapsed() < SLICE {
            (self.run)();
            done += 1;
        }
        self.iterations = done.max(1);
    }

    fn round(&mut self) {
        let start = Instant::now();
        for _ in 0..self.iterations {
            (self.run)();
        }
        self.rounds.push(start.elapsed().as_nanos() as f64 / f64::from(self.iterations));
    }
}

/// Runs all cases in turn, `rounds` times over.
///
/// # Panics
/// When a baseline is not among the cases.
pub fn measure(mut cases: Vec<Case<'_>>, rounds: usize) -> Vec<Row> {
    for case in &mut cases {
        case.calibrate();
    }
    for round in 0..rounds {
        // From another one each time, so that nobody always follows the same neighbour.
        let length = cases.len();
        for index in 0..length {
            cases[(index + round) % length].round();
        }
    }
    let rounds_of =
        |name: &str| &cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}")).rounds;
    cases
        .iter()
        .map(|case| {
            let base = rounds_of(&case.baseline);
            let ratios = case.rounds.iter().zip(base).map(|(own, base)| own / base).collect();
            Row {
                case: case.name.clone(),
                baseline: case.baseline.clone(),
                min_ns: case.rounds.iter().copied().fold(f64::INFINITY, f64::min),
                median_ns: median(case.rounds.clone()),
                ratio: median(ratios),
                allocations: case.allocations,
            }
        })
        .collect()
}

/// Returns the middle of some numbers.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
