use std::fmt;

/// Is one mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMistake {
    line: usize,
    message: String,
}

impl ConfigMistake {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }

    /// Returns the line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// Returns what is wrong, in words without a secret.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Lists every mistake of a configuration, by line; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMistakes(Vec<ConfigMistake>);

impl ConfigMistakes {
    pub(super) fn of(mut mistakes: Vec<ConfigMistake>) -> Option<Self> {
        mistakes.sort_by_key(ConfigMistake::line);
        mistakes.dedup();
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    pub(crate) fn one(line: usize, message: impl Into<String>) -> Self {
        Self(vec![ConfigMistake::new(line, message)])
    }

    /// Lists them.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigMistake] {
        &self.0
    }
}

impl fmt::Display for ConfigMistakes {
    /// Writes one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigMistakes {}
