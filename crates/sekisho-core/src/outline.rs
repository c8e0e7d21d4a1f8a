use std::fmt;

use crate::{Decision, Denial, Failure};

/// Is the shape of an authorizer, for people: a name, and the parts that it asks.
///
/// `Display` writes it as an indented tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    name: String,
    parts: Vec<Outline>,
}

impl Outline {
    /// Names something that asks nobody else.
    #[must_use]
    pub fn leaf(name: impl Into<String>) -> Self {
        Self { name: name.into(), parts: Vec::new() }
    }

    /// Names something that asks others.
    #[must_use]
    pub fn branch(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { name: name.into(), parts: parts.into_iter().collect() }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the parts.
    #[must_use]
    pub fn parts(&self) -> &[Self] {
        &self.parts
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        writeln!(f, "{:indent$}{}", "", self.name, indent = 2 * depth)?;
        self.parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// Shows how a decision came about: what each part said, and which parts settled it.
///
/// `Display` writes it as an indented tree; a `*` marks what settled it.
#[derive(Clone, Debug)]
pub struct Explanation {
    name: String,
    outcome: Option<Result<Decision, Failure>>,
    is_decisive: bool,
    parts: Vec<Explanation>,
}

impl Explanation {
    /// Says what somebody said who asks nobody else.
    #[must_use]
    pub fn leaf(name: impl Into<String>, outcome: Result<Decision, Failure>) -> Self {
        Self { name: name.into(), outcome: Some(outcome), is_decisive: true, parts: Vec::new() }
    }

    /// Says what came of the answers of others.
    #[must_use]
    pub fn branch(name: impl Into<String>, outcome: Result<Decision, Failure>, parts: Vec<Self>) -> Self {
        Self { name: name.into(), outcome: Some(outcome), is_decisive: true, parts }
    }

    /// Stands for one that was not asked, because others had settled it.
    #[must_use]
    pub fn not_asked(outline: &Outline) -> Self {
        let parts = outline.parts().iter().map(Self::not_asked).collect();
        Self { name: outline.name().to_owned(), outcome: None, is_decisive: false, parts }
    }

    /// Says that what it said settled nothing.
    #[must_use]
    pub fn without_weight(mut self) -> Self {
        self.is_decisive = false;
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it said, or `None` if it was not asked.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Result<Decision, Failure>> {
        self.outcome.as_ref()
    }

    /// Tells whether its answer settled the one above it.
    #[must_use]
    pub const fn is_decisive(&self) -> bool {
        self.is_decisive
    }

    /// Returns what the parts said.
    #[must_use]
    pub fn parts(&self) -> &[Self] {
        &self.parts
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let mark = if self.is_decisive { '*' } else { ' ' };
        write!(f, "{mark} {:indent$}{}: ", "", self.name, indent = 2 * depth)?;
        match &self.outcome {
            None => f.write_str("not asked")?,
            Some(Err(failure)) => write!(f, "error, {failure}")?,
            Some(Ok(decision)) => {
                f.write_str(decision.effect().as_str())?;
                if decision.source() != crate::DecisionSource::Local {
                    write!(f, ", {}", decision.source().as_str())?;
                }
                if let Some(revision) = decision.revision() {
                    write!(f, ", revision {revision}")?;
                }
                if let Some(denial) = decision.denial() {
                    f.write_str(", ")?;
                    write_denial(f, denial)?;
                }
                for reason in decision.reasons() {
                    write!(f, ", {reason}")?;
                }
            }
        }
        writeln!(f)?;
        self.parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}

/// Says what is lacking. Scopes and `acr` values may be of a decision service's own, so they are escaped.
fn write_denial(f: &mut fmt::Formatter<'_>, denial: &Denial) -> fmt::Result {
    match denial {
        Denial::InsufficientScope { scope } => write!(f, "lacks scope {}", scope.escape_debug()),
        Denial::InsufficientAuthentication { acr_values, max_age } => {
            f.write_str("lacks authentication")?;
            if let Some(acr_values) = acr_values {
                write!(f, " by one of {}", acr_values.escape_debug())?;
            }
            match max_age {
                Some(age) => write!(f, " within {} s", age.as_secs()),
                None => Ok(()),
            }
        }
        Denial::InvalidToken => f.write_str("the credential is not taken any more"),
        Denial::Forbidden { reason } => f.write_str(reason),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
