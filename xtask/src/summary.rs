//! What all steps came to.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::layout::Layout;
use crate::libtest::Counts;
use crate::progress::Screen;
use crate::steps::{Step, Verdict};

/// Runs steps and remembers how each ended.
pub(crate) struct Summary<'a> {
    layout: &'a Layout,
    screen: &'a Screen,
    begun: Instant,
    rows: Vec<Row>,
    skips: Vec<String>,
    total: Counts,
}

struct Row {
    name: String,
    took: Duration,
    counts: Counts,
    note: String,
}

impl Row {
    fn has_failed(&self) -> bool {
        self.counts.failed > 0
    }
}

impl<'a> Summary<'a> {
    pub(crate) fn new(layout: &'a Layout, screen: &'a Screen) -> Self {
        Self { layout, screen, begun: Instant::now(), rows: Vec::new(), skips: Vec::new(), total: Counts::default() }
    }

    /// Runs one step and shows at once why it failed, if it did.
    pub(crate) fn run(&mut self, step: Step) {
        let row = perform(step, self.layout, self.screen);
        self.record(row);
    }

    /// Runs several rows of steps side by side, and the steps of each row one after the other.
    pub(crate) fn run_beside(&mut self, rows: Vec<Vec<Step>>) {
        let (layout, screen) = (self.layout, self.screen);
        let ends: Vec<_> = thread::scope(|scope| {
            let work = |steps: Vec<Step>| move || steps.into_iter().map(|step| perform(step, layout, screen)).collect();
            let threads: Vec<_> = rows.into_iter().map(|steps| scope.spawn(work(steps))).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for end in ends {
            let panicked = || {
                let note = "panicked".to_owned();
                vec![Row { name: "a row of steps".to_owned(), took: Duration::ZERO, counts: Counts::FAILED, note }]
            };
            for row in end.unwrap_or_else(|_| panicked()) {
                self.record(row);
            }
        }
    }

    fn record(&mut self, row: Row) {
        if row.counts == Counts::SKIPPED {
            self.skips.push(format!("{}: {}", row.name, row.note));
        }
        self.total += row.counts;
        self.rows.push(row);
    }

    /// Counts something that was left out, with the reason.
    pub(crate) fn skip(&mut self, reason: impl Into<String>) {
        self.total += Counts::SKIPPED;
        self.skips.push(reason.into());
    }

    /// Tells whether something has failed until now.
    pub(crate) fn has_failed(&self) -> bool {
        self.total.failed > 0
    }

    /// Prints the table, what was left out, what failed and, as the last line, the numbers.
    pub(crate) fn finish(self) -> ExitCode {
        println!("{self}");
        if self.has_failed() || self.total.passed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn perform(step: Step, layout: &Layout, screen: &Screen) -> Row {
    let name = step.name.clone();
    let line = screen.line(&name);
    let log = layout.log(&name);
    let Verdict { counts, note, detail } = step.run(layout, &log, &line);
    let mark = match counts {
        Counts { failed: 1.., .. } => "✗",
        Counts { passed: 0, .. } => "-",
        _ => "✓",
    };
    let took = line.finish(mark, &note);
    if counts.failed > 0 {
        screen.print(&format!("---- {name}: {note}\n{detail}\n---- all of it: {}", log.display()));
    }
    Row { name, took, counts, note }
}

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { begun, rows, skips, total, layout: _, screen: _ } = self;
        for row in rows {
            let Row { name, took, counts: _, note } = row;
            let end = if row.has_failed() { "FAILED" } else { "" };
            writeln!(f, "{}", format!("{:>8.1} s  {end:6}  {name:28}  {note}", took.as_secs_f64()).trim_end())?;
        }
        writeln!(f, "{:>8.1} s  in all", begun.elapsed().as_secs_f64())?;
        for skip in skips {
            writeln!(f, "skipped: {skip}")?;
        }
        write!(f, "{total}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_the_sum_of_all_steps_and_skips() {
        let layout = Layout::find().unwrap();
        let screen = Screen::silent();
        let mut summary = Summary::new(&layout, &screen);
        let tests =
            || Verdict { counts: Counts { passed: 5, failed: 1, skipped: 2 }, note: "a".into(), detail: "".into() };
        summary.run(Step::new("tests", move |_, _, _| Ok(tests())));
        summary.run(Step::new("docs", |_, _, _| Ok(Verdict::passed(""))));
        summary.run(Step::new("advisories", |_, _, _| Ok(Verdict::skipped("no network"))));
        summary.skip("vectors: not there");
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some("6 passed, 1 failed, 4 skipped"));
        assert!(text.contains("skipped: advisories: no network\nskipped: vectors: not there\n"));
        assert!(text.lines().next().unwrap().contains("FAILED  tests"));
    }

    #[test]
    fn counts_rows_that_run_side_by_side_and_one_that_panics() {
        let layout = Layout::find().unwrap();
        let screen = Screen::silent();
        let mut summary = Summary::new(&layout, &screen);
        let (here, there) = std::sync::mpsc::channel();
        let good = Step::new("good", move |_, _, _| Ok(Verdict::passed(there.recv_timeout(Duration::from_secs(20))?)));
        let beside = Step::new("beside", move |_, _, _| Ok(here.send("told").map(|()| Verdict::passed(""))?));
        let bad = Step::new("bad", |_, _, _| panic!("on purpose"));
        summary.run_beside(vec![
            vec![good],
            vec![beside],
            vec![bad, Step::new("after", |_, _, _| Ok(Verdict::passed("")))],
        ]);
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed, 0 skipped"));
        assert!(text.lines().next().unwrap().ends_with("good                          told"), "{text}");
    }

    #[test]
    fn does_not_call_an_empty_run_a_success() {
        let layout = Layout::find().unwrap();
        let screen = Screen::silent();
        let mut summary = Summary::new(&layout, &screen);
        summary.skip("everything");
        assert_ne!(format!("{:?}", summary.finish()), format!("{:?}", ExitCode::SUCCESS));
    }
}
