use std::fmt;
use std::sync::Arc;

use sekisho_core::{Failure, Principal, RevocationCheck, UnixSeconds};

/// Asks several checks; any objection counts.
///
/// A principal that one of them knows to be withdrawn is refused, also when another one fails. Otherwise the first
/// failure counts. Only when each says "not withdrawn" does the principal pass. Without any check everybody passes.
///
/// # Examples
/// ```
/// use sekisho_revocation::{AnyRevocation, RevocationList};
/// let (logouts, incidents) = (RevocationList::new()?, RevocationList::new()?);
/// let check = AnyRevocation::new().or(logouts.check()).or(incidents.local());
/// # let _ = check;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct AnyRevocation(Vec<Arc<dyn RevocationCheck>>);

impl AnyRevocation {
    /// Starts with no check at all.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Asks this one too.
    pub fn or(mut self, check: impl RevocationCheck + 'static) -> Self {
        self.0.push(Arc::new(check));
        self
    }

    /// Like [`or`](Self::or), for a check that is shared.
    pub fn or_shared(mut self, check: Arc<dyn RevocationCheck>) -> Self {
        self.0.push(check);
        self
    }
}

impl RevocationCheck for AnyRevocation {
    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> Result<bool, Failure> {
        let mut failure = None;
        for check in &self.0 {
            match check.is_revoked(principal, now) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(first) => {
                    failure.get_or_insert(first);
                }
            }
        }
        failure.map_or(Ok(false), Err)
    }
}

impl fmt::Debug for AnyRevocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyRevocation({} checks)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use sekisho_core::dangerous::PrincipalBuilder;

    use super::*;

    #[derive(Clone)]
    struct Says(Result<bool, Failure>);

    impl RevocationCheck for Says {
        fn is_revoked(&self, _: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
            self.0.clone()
        }
    }

    fn answer(checks: &[&Says]) -> Result<bool, String> {
        let any = checks.iter().fold(AnyRevocation::new(), |any, check| any.or((*check).clone()));
        let principal = PrincipalBuilder::new("https://id.example", "u").build().expect("claims");
        any.is_revoked(&principal, UnixSeconds::new(0)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn any_objection_counts_and_knowledge_beats_a_failure() {
        let (yes, no) = (Says(Ok(true)), Says(Ok(false)));
        let (first, second) = (Says(Err(Failure::unavailable("first"))), Says(Err(Failure::unavailable("second"))));
        assert_eq!(answer(&[&no, &yes]), Ok(true));
        assert_eq!(answer(&[&first, &yes]), Ok(true));
        assert_eq!(answer(&[&yes, &first]), Ok(true));
        assert_eq!(answer(&[&no, &first, &second, &no]), Err("first".to_owned()));
        assert_eq!(answer(&[&no, &no]), Ok(false));
        assert_eq!(answer(&[]), Ok(false));
    }
}
