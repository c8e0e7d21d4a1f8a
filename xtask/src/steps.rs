//! A step of `cargo xtask test`: something that is done, takes its time, and ends in numbers.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::layout::Layout;
use crate::libtest::{self, Counts};
use crate::process::{self, Invocation};
use crate::progress::Line;

/// The longest step, a first build on two busy cores, takes less than half of this.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// How a step ended.
pub(crate) struct Verdict {
    pub(crate) counts: Counts,
    /// A few words for the table.
    pub(crate) note: String,
    /// What a person needs to find out why it failed; empty if it did not.
    pub(crate) detail: String,
}

impl Verdict {
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        Self { counts: Counts::PASSED, note: note.into(), detail: String::new() }
    }

    pub(crate) fn failed(note: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { counts: Counts::FAILED, note: note.into(), detail: detail.into() }
    }

    pub(crate) fn skipped(note: impl Into<String>) -> Self {
        Self { counts: Counts::SKIPPED, note: note.into(), detail: String::new() }
    }
}

type Action = Box<dyn FnOnce(&Layout, &Path, &Line) -> Result<Verdict> + Send>;

/// A name and what to do; the action gets the log file to write to and the line to report on.
pub(crate) struct Step {
    pub(crate) name: String,
    action: Action,
}

impl Step {
    pub(crate) fn new(
        name: impl Into<String>,
        action: impl FnOnce(&Layout, &Path, &Line) -> Result<Verdict> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), action: Box::new(action) }
    }

    /// Runs test programs and sums what they report.
    pub(crate) fn tests(name: &str, invocation: Invocation) -> Self {
        Self::new(name, move |_, log, line| {
            let finished = process::run(&invocation, log, line, LIMIT, &|| None)?;
            Ok(judge_tests(&finished))
        })
    }

    /// Runs a command that has to succeed.
    pub(crate) fn passes(name: impl Into<String>, invocation: Invocation) -> Self {
        Self::new(name, move |_, log, line| {
            let finished = process::run(&invocation, log, line, LIMIT, &|| None)?;
            Ok(if finished.success() {
                Verdict::passed("")
            } else {
                Verdict::failed("the command failed", finished.tail(80))
            })
        })
    }

    /// Runs a command that has to fail and to say `text`.
    pub(crate) fn fails_with(name: &str, invocation: Invocation, text: &'static str) -> Self {
        Self::new(name, move |_, log, line| {
            let finished = process::run(&invocation, log, line, LIMIT, &|| None)?;
            Ok(if finished.success() {
                Verdict::failed("it succeeded, and must not", "")
            } else if !finished.output.contains(text) {
                Verdict::failed(format!("it failed without saying {text:?}"), finished.tail(40))
            } else {
                Verdict::passed("fails as it must")
            })
        })
    }

    /// Looks at the checkout by a function; its error is the failure.
    pub(crate) fn check(name: &str, look: fn(&Layout, &Path, &Line) -> Result<String>) -> Self {
        Self::new(name, move |layout, log, line| Ok(Verdict::passed(look(layout, log, line)?)))
    }

    /// Runs the step; whatever goes wrong is a failure of this step alone.
    pub(crate) fn run(self, layout: &Layout, log: &Path, line: &Line) -> Verdict {
        (self.action)(layout, log, line).unwrap_or_else(|error| Verdict::failed("", format!("{error:#}")))
    }
}

fn judge_tests(finished: &process::Finished) -> Verdict {
    let mut counts = libtest::sum(&finished.stdout);
    let failures = libtest::failures(&finished.stdout);
    if finished.success() && counts.passed > 0 && counts.failed == 0 {
        return Verdict { note: counts.to_string(), counts, detail: String::new() };
    }
    let mut note = failures.join(", ");
    let mut detail = libtest::failure_text(&finished.stdout);
    if counts.failed == 0 {
        // It did not compile, a test program crashed, or a filter matched nothing.
        counts.failed = 1;
        let what = if finished.success() { "no test ran" } else { "a build or a test program failed" };
        what.clone_into(&mut note);
        detail.push_str(&finished.tail(80));
    }
    Verdict { counts, note, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Screen;

    fn judge(script: &str) -> Verdict {
        let invocation = Invocation::new("sh").arg("-c").arg(script);
        run(Step::tests("tests", invocation))
    }

    fn run(step: Step) -> Verdict {
        let layout = Layout::find().unwrap();
        let mut log = std::env::temp_dir();
        log.push(format!("sekisho-xtask-step-{:?}.log", std::thread::current().id()));
        let verdict = step.run(&layout, &log, &Screen::silent().line("step"));
        let _ = std::fs::remove_file(log);
        verdict
    }

    fn shell(script: &str) -> Invocation {
        Invocation::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn counts_tests_that_pass() {
        let verdict = judge("echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'");
        assert_eq!(verdict.counts, Counts { passed: 3, failed: 0, skipped: 1 });
    }

    #[test]
    fn fails_when_no_test_ran() {
        let verdict = judge("echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out'");
        assert_eq!(verdict.counts.failed, 1);
        assert_eq!(verdict.note, "no test ran");
    }

    #[test]
    fn fails_when_a_test_program_crashed_after_others_passed() {
        let verdict = judge("echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; kill -SEGV $$");
        assert_eq!(verdict.counts, Counts { passed: 3, failed: 1, skipped: 0 });
    }

    #[test]
    fn does_not_count_a_failed_test_twice() {
        let verdict =
            judge("echo 'test a ... FAILED'; echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101");
        assert_eq!(verdict.counts, Counts { passed: 2, failed: 1, skipped: 0 });
        assert_eq!(verdict.note, "a");
    }

    #[test]
    fn does_not_believe_results_on_standard_error() {
        let verdict = judge("echo 'test result: ok. 3 passed; 0 failed; 0 ignored' >&2");
        assert_eq!(verdict.counts, Counts::FAILED);
    }

    #[test]
    fn wants_the_reason_of_a_failure_that_must_be() {
        let counts = |script| run(Step::fails_with("refused", shell(script), "no backend")).counts;
        assert_eq!(counts("echo 'error: no backend' >&2; exit 1"), Counts::PASSED);
        assert_eq!(counts("echo 'error: no network' >&2; exit 1"), Counts::FAILED);
        assert_eq!(counts("echo 'no backend'"), Counts::FAILED);
    }

    #[test]
    fn turns_an_error_into_a_failure() {
        let verdict = run(Step::check("look", |_, _, _| anyhow::bail!("nothing there")));
        assert_eq!(verdict.counts, Counts::FAILED);
        assert_eq!(verdict.detail, "nothing there");
        assert_eq!(run(Step::passes("command", Invocation::new("/nowhere/at-all"))).counts, Counts::FAILED);
    }
}
