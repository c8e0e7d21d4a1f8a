use std::fmt;

use sekisho_core::Refusal;

/// Names a step of the verification, in the order in which they are taken.
///
/// With several issuers behind one verifier, [`Issuer`](Self::Issuer) is looked at once more before any work with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The length, and the three parts.
    Form,
    /// The protected header.
    Header,
    /// Decryption of an encrypted token.
    Decryption,
    /// `typ` of the header.
    Type,
    /// `alg` against the allow-list.
    Algorithm,
    /// A trusted key that fits.
    Key,
    /// The signature.
    Signature,
    /// The claims as strict JSON.
    Claims,
    /// `iss`.
    Issuer,
    /// `aud`.
    Audience,
    /// `exp`.
    Expiry,
    /// `nbf` and `iat`.
    NotBefore,
    /// That it is an access token.
    TokenUse,
    /// `cnf`.
    Confirmation,
    /// `sub`, client, scopes, roles, tenant.
    Subject,
    /// The proof of possession, where bound tokens are taken.
    Proof,
    /// That it was not withdrawn.
    Revocation,
}

impl Step {
    /// Returns a short name, such as `signature`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Header => "header",
            Self::Decryption => "decryption",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expiry => "expiry",
            Self::NotBefore => "not before",
            Self::TokenUse => "token use",
            Self::Confirmation => "confirmation",
            Self::Subject => "subject",
            Self::Proof => "proof",
            Self::Revocation => "revocation",
        }
    }
}

/// Tells how one step went.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    step: Step,
    passed: bool,
    detail: String,
}

impl StepOutcome {
    /// Returns the step.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// Tells whether it held.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.passed
    }

    /// Returns what was seen, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Explains a verification step by step, up to the first that failed.
///
/// Safe to log for any token: what it shows of the token (`alg`, `typ`, `kid`, `iss`) is cut to 80 characters and
/// escaped to one line; signature, subject and other claims stay out.
///
/// `Display` writes one line a step; `Debug` tells the steps and whether the token was accepted.
#[derive(Clone)]
pub struct Trace {
    steps: Vec<StepOutcome>,
    result: Result<(), Refusal>,
}

impl Trace {
    /// Returns the steps taken.
    #[must_use]
    pub fn steps(&self) -> &[StepOutcome] {
        &self.steps
    }

    /// Tells whether every step held. It is no proof of anything, and names nobody: whether a DPoP proof was used before was not
    /// asked. Who must be let in or not is for [`Verifier::verify`](crate::Verifier::verify) to say.
    ///
    /// ```compile_fail,E0308
    /// # fn enter(principal: &sekisho_core::Principal) {}
    /// # fn walk(trace: &sekisho_jwt::Trace) {
    /// if let Ok(principal) = trace.result() {
    ///     enter(principal);
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The refusal of the step that failed.
    pub const fn result(&self) -> Result<(), &Refusal> {
        match &self.result {
            Ok(()) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for StepOutcome { step, passed, detail } in &self.steps {
            writeln!(f, "{} {:<13} {detail}", if *passed { "ok" } else { "NO" }, step.name())?;
        }
        match &self.result {
            Ok(()) => f.write_str("accepted"),
            Err(Refusal::Reject(reject)) => write!(f, "refused: {reject}"),
            Err(Refusal::Failure(failure)) => write!(f, "not decided: {failure}"),
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("steps", &self.steps).field("accepted", &self.result.is_ok()).finish()
    }
}

/// Listens to a verification. The silent one costs nothing.
pub(crate) trait Recorder {
    /// Whether what was verified goes into the cache.
    const FILLS_CACHE: bool;
    /// The token is gone through from the beginning.
    fn restart(&mut self);
    /// A step begins; the one before it has passed.
    fn begin(&mut self, step: Step);
    /// The step that began has passed.
    fn pass(&mut self, detail: impl FnOnce() -> String);
}

/// Hears nothing.
pub(crate) struct Silent;

impl Recorder for Silent {
    const FILLS_CACHE: bool = true;

    fn restart(&mut self) {}
    fn begin(&mut self, _: Step) {}
    fn pass(&mut self, _: impl FnOnce() -> String) {}
}

/// Writes a [`Trace`].
#[derive(Default)]
pub(crate) struct Written {
    steps: Vec<StepOutcome>,
    current: Option<Step>,
}

impl Written {
    pub(crate) fn finish(mut self, result: Result<(), Refusal>) -> Trace {
        if let (Err(refusal), Some(step)) = (&result, self.current) {
            self.steps.push(StepOutcome { step, passed: false, detail: refusal.to_string() });
        }
        Trace { steps: self.steps, result }
    }
}

impl Recorder for Written {
    const FILLS_CACHE: bool = false;

    fn restart(&mut self) {
        self.steps.clear();
    }

    fn begin(&mut self, step: Step) {
        self.current = Some(step);
    }

    fn pass(&mut self, detail: impl FnOnce() -> String) {
        if let Some(step) = self.current.take() {
            self.steps.push(StepOutcome { step, passed: true, detail: detail() });
        }
    }
}

/// Makes a text from outside safe to show: one line, at most 80 characters of it.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut cut: String = text.chars().take(LONGEST).flat_map(visible).collect();
    if text.chars().nth(LONGEST).is_some() {
        cut.push('…');
    }
    format!("`{cut}`")
}

/// Escapes control characters, and everything outside ASCII: look-alikes and direction marks must not deceive who reads a log.
fn visible(character: char) -> std::char::EscapeDefault {
    character.escape_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_is_shown_on_one_short_line() {
        let text = format!("a\r\nb\u{202e}{}", "x".repeat(500));
        let safe = shown(&text);
        assert!(safe.starts_with("`a\\r\\nb\\u{202e}x"), "{safe}");
        assert!(safe.len() < 110 && safe.lines().count() == 1);
    }
}
