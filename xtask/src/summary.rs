//! What all steps came to.

use std::process::ExitCode;
use std::time::Duration;

use crate::layout::Layout;
use crate::libtest::Counts;
use crate::progress::Screen;
use crate::steps::{Step, Verdict};

/// Runs steps and remembers how each ended.
pub(crate) struct Summary<'a> {
    layout: &'a Layout,
    screen: &'a Screen,
    rows: Vec<Row>,
    skips: Vec<String>,
    total: Counts,
}

struct Row {
    name: String,
    took: Duration,
    failed: bool,
    note: String,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(layout: &'a Layout, screen: &'a Screen) -> Self {
        Self { layout, screen, rows: Vec::new(), skips: Vec::new(), total: Counts::default() }
    }

    /// Runs one step and shows at once why it failed, if it did.
    pub(crate) fn run(&mut self, step: Step) {
        let name = step.name.clone();
        let line = self.screen.line(&name);
        let log = self.layout.log(&name);
        let Verdict { counts, note, detail } = step.run(self.layout, &log, &line);
        let failed = counts.failed > 0;
        let mark = match counts {
            _ if failed => "✗",
            Counts { passed: 0, .. } => "-",
            _ => "✓",
        };
        let took = line.finish(mark, &note);
        if failed {
            self.screen.print(&format!("---- {name}: {note}\n{detail}\n---- all of it: {}", log.display()));
        } else if counts == Counts::SKIPPED {
            self.skips.push(format!("{name}: {note}"));
        }
        self.total += counts;
        self.rows.push(Row { name, took, failed, note });
    }

    /// Counts something that was left out, with the reason.
    pub(crate) fn skip(&mut self, reason: impl Into<String>) {
        self.total += Counts::SKIPPED;
        self.skips.push(reason.into());
    }

    /// Prints the table, what was left out, what failed and, as the last line, the numbers.
    pub(crate) fn finish(self) -> ExitCode {
        println!("{self}");
        if self.total.failed > 0 || self.total.passed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, skips, total, layout: _, screen: _ } = self;
        let all: Duration = rows.iter().map(|row| row.took).sum();
        for Row { name, took, failed, note } in rows {
            let end = if *failed { "FAILED" } else { "" };
            writeln!(f, "{}", format!("{:>8.1} s  {end:6}  {name:28}  {note}", took.as_secs_f64()).trim_end())?;
        }
        writeln!(f, "{:>8.1} s  in all", all.as_secs_f64())?;
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
    fn does_not_call_an_empty_run_a_success() {
        let layout = Layout::find().unwrap();
        let screen = Screen::silent();
        let mut summary = Summary::new(&layout, &screen);
        summary.skip("everything");
        assert_ne!(format!("{:?}", summary.finish()), format!("{:?}", ExitCode::SUCCESS));
    }
}
