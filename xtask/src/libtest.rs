//! Reads what `cargo test` prints.

/// How many passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Sums the `test result:` lines of all test programs in `stdout`; ignored tests count as skipped.
pub(crate) fn sum(stdout: &str) -> Counts {
    let mut counts = Counts::default();
    for rest in stdout.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let (_, numbers) = rest.split_once(". ").unwrap_or_default();
        for part in numbers.split(';') {
            let Some((number, word)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

/// Names the tests that failed, in order of appearance.
pub(crate) fn failures(stdout: &str) -> Vec<&str> {
    stdout.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect()
}

/// Cuts out what the failed tests printed: from each `failures:` heading to the list of names below it.
pub(crate) fn failure_text(stdout: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in stdout.lines() {
        match line {
            "failures:" => inside = !inside,
            _ if line.starts_with("test result: ") => inside = false,
            _ if inside => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PROGRAMS: &str = "\
running 3 tests
test a::accepts_it ... ok
test a::refuses_it ... FAILED
test a::slow ... ignored, takes minutes

failures:

---- a::refuses_it stdout ----
assertion failed: late

failures:
    a::refuses_it

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s

   Doc-tests sekisho
running 12 tests
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.23s
";

    #[test]
    fn sums_the_result_lines_of_all_programs() {
        assert_eq!(sum(TWO_PROGRAMS), Counts { passed: 13, failed: 1, skipped: 1 });
    }

    #[test]
    fn does_not_count_measured_or_filtered_tests() {
        let line = "test result: ok. 0 passed; 0 failed; 0 ignored; 7 measured; 9 filtered out; finished in 0.00s";
        assert_eq!(sum(line), Counts::default());
    }

    #[test]
    fn counts_nothing_in_text_that_only_mentions_a_result() {
        assert_eq!(sum("note: test result: ok. 5 passed; 0 failed"), Counts::default());
        assert_eq!(sum("test result: "), Counts::default());
        assert_eq!(sum("test result: ok. many passed; few failed"), Counts::default());
    }

    #[test]
    fn names_the_failed_tests() {
        assert_eq!(failures(TWO_PROGRAMS), ["a::refuses_it"]);
    }

    #[test]
    fn shows_what_the_failed_tests_printed() {
        let text = failure_text(TWO_PROGRAMS);
        assert!(text.contains("assertion failed: late"));
        assert!(!text.contains("Doc-tests"));
    }

    #[test]
    fn writes_the_last_line_in_its_fixed_form() {
        let counts = Counts { passed: 12, failed: 0, skipped: 3 };
        assert_eq!(counts.to_string(), "12 passed, 0 failed, 3 skipped");
    }
}
