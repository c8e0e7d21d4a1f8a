use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::authorize::{AccessRequest, Authorize, Decision};
use crate::{Failure, Principal, UnixSeconds};

/// Is what a route asks of a principal, decided from the principal alone.
///
/// Built by [`scope`], [`role`], [`authentication_context`], [`max_age`], [`any_of`] and [`all_of`]; the same value
/// guards a route as a layer and is checked in a handler. A clone costs one counter.
///
/// # Examples
/// ```
/// use sekisho_core::{any_of, role, scope, UnixSeconds, dangerous::PrincipalBuilder};
/// let writer = any_of([scope("orders:write"), role("admin")]);
/// let caller = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:write").build()?;
/// assert!(writer.check(&caller, UnixSeconds::new(0)).is_ok());
/// # Ok::<(), sekisho_core::json::JsonError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Requirement(Arc<Rule>);

#[derive(Debug)]
enum Rule {
    Scope(Arc<str>),
    Role(Box<str>),
    AuthenticationContext(Box<[Box<str>]>),
    MaxAge(Duration),
    Any(Box<[Requirement]>),
    All(Box<[Requirement]>),
}

/// Asks for scopes: one, or several separated by spaces, all of which must have been granted.
///
/// Lacking them is answered with 403 `insufficient_scope`, naming them all
/// ([RFC 6750 §3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)). An empty string is never granted.
#[must_use]
pub fn scope(scope: impl Into<String>) -> Requirement {
    let words: Vec<String> = scope.into().split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect();
    Requirement(Arc::new(Rule::Scope(words.join(" ").into())))
}

/// Asks for a role, as the authenticator found it in the claims. Lacking it is answered with 403.
#[must_use]
pub fn role(role: impl Into<Box<str>>) -> Requirement {
    Requirement(Arc::new(Rule::Role(role.into())))
}

/// Asks that `acr` be one of these. Otherwise the caller is told to step up
/// ([RFC 9470 §3](https://www.rfc-editor.org/rfc/rfc9470#section-3)).
#[must_use]
pub fn authentication_context<I: IntoIterator<Item = S>, S: Into<Box<str>>>(acr_values: I) -> Requirement {
    Requirement(Arc::new(Rule::AuthenticationContext(acr_values.into_iter().map(Into::into).collect())))
}

/// Asks that the subject authenticated (`auth_time`) no longer ago than this, in whole seconds. Otherwise the
/// caller is told to log in anew ([RFC 9470 §3](https://www.rfc-editor.org/rfc/rfc9470#section-3)).
#[must_use]
pub fn max_age(age: Duration) -> Requirement {
    Requirement(Arc::new(Rule::MaxAge(age)))
}

/// Asks for at least one of these; of none, nobody has one.
#[must_use]
pub fn any_of(requirements: impl IntoIterator<Item = Requirement>) -> Requirement {
    Requirement(Arc::new(Rule::Any(requirements.into_iter().collect())))
}

/// Asks for each of these; of none, everybody has them.
#[must_use]
pub fn all_of(requirements: impl IntoIterator<Item = Requirement>) -> Requirement {
    Requirement(Arc::new(Rule::All(requirements.into_iter().collect())))
}

impl Requirement {
    /// Decides for this principal at `now`.
    ///
    /// # Errors
    /// [`Denial`] says what is lacking, and so how the caller could come by it.
    pub fn check(&self, principal: &Principal, now: UnixSeconds) -> Result<(), Denial> {
        match &*self.0 {
            Rule::Scope(scope) => {
                let mut asked = scope.split(' ');
                let granted = !scope.is_empty() && asked.all(|one| principal.has_scope(one));
                if granted { Ok(()) } else { Err(Denial::InsufficientScope { scope: Arc::clone(scope) }) }
            }
            Rule::Role(role) => {
                if principal.has_role(role) {
                    Ok(())
                } else {
                    Err(Denial::Forbidden { reason: "the principal lacks a role" })
                }
            }
            Rule::AuthenticationContext(accepted) => {
                let held = principal.authentication_context();
                let fits = held.is_some_and(|acr| accepted.iter().any(|a| **a == *acr));
                if fits { Ok(()) } else { Err(Denial::step_up(Some(accepted.join(" ").into()), None)) }
            }
            Rule::MaxAge(age) => {
                // `auth_time` in the future is as bad as none: it must not count as fresh.
                let fresh = principal
                    .authenticated_at()
                    .is_some_and(|at| at <= now.saturating_add(CLOCK_SKEW) && now.since(at) <= *age);
                if fresh { Ok(()) } else { Err(Denial::step_up(None, Some(*age))) }
            }
            Rule::Any(requirements) => {
                let mut best: Option<Denial> = None;
                for requirement in requirements {
                    match requirement.check(principal, now) {
                        Ok(()) => return Ok(()),
                        // The first that the caller could mend; one that nobody can mend says nothing of the others.
                        Err(denial) if best.as_ref().is_none_or(Denial::is_final) => best = Some(denial),
                        Err(_) => {}
                    }
                }
                Err(best.unwrap_or(Denial::Forbidden { reason: "nothing would satisfy this route" }))
            }
            Rule::All(requirements) => {
                let denials = requirements.iter().filter_map(|r| r.check(principal, now).err());
                match Denial::weightiest(denials) {
                    None => Ok(()),
                    Some(Denial::Forbidden { reason }) => Err(Denial::Forbidden { reason }),
                    // A client asks for what the challenge names and for no more, so all of it is named, also what this
                    // token has: the next one is to have it too.
                    Some(Denial::InsufficientScope { scope }) => {
                        let mut asked = Vec::new();
                        requirements.iter().for_each(|requirement| requirement.collect_scopes(&mut asked));
                        // What an alternative lacks stands in no requirement of its own.
                        scope.split(' ').for_each(|one| push_once(&mut asked, one));
                        Err(Denial::InsufficientScope { scope: asked.join(" ").into() })
                    }
                    Some(Denial::InsufficientAuthentication { acr_values, max_age }) => {
                        let mut whole = StepUp { acr_values: acr_values.clone(), max_age };
                        requirements.iter().for_each(|requirement| requirement.collect_step_up(&mut whole));
                        Err(Denial::step_up(whole.acr_values, whole.max_age))
                    }
                }
            }
        }
    }

    /// Collects the scopes that are asked for in any case, each once.
    fn collect_scopes<'a>(&'a self, asked: &mut Vec<&'a str>) {
        match &*self.0 {
            Rule::Scope(scope) => scope.split(' ').for_each(|one| push_once(asked, one)),
            Rule::All(requirements) => requirements.iter().for_each(|requirement| requirement.collect_scopes(asked)),
            Rule::Any(_) | Rule::Role(_) | Rule::AuthenticationContext(_) | Rule::MaxAge(_) => {}
        }
    }

    /// Collects what is asked of the authentication in any case: the values that all accept, and the smallest age.
    fn collect_step_up(&self, whole: &mut StepUp) {
        match &*self.0 {
            Rule::AuthenticationContext(accepted) => {
                let values = match &whole.acr_values {
                    None => accepted.join(" "),
                    Some(known) => {
                        let common = |one: &&str| accepted.iter().any(|value| **value == **one);
                        known.split(' ').filter(common).collect::<Vec<_>>().join(" ")
                    }
                };
                // Two lists without a common value cannot be satisfied; the first is as good as the other.
                if !values.is_empty() {
                    whole.acr_values = Some(values.into());
                }
            }
            Rule::MaxAge(age) => whole.max_age = Some(whole.max_age.map_or(*age, |known| known.min(*age))),
            Rule::All(requirements) => requirements.iter().for_each(|requirement| requirement.collect_step_up(whole)),
            Rule::Any(_) | Rule::Role(_) | Rule::Scope(_) => {}
        }
    }
}

/// Is what a challenge of RFC 9470 asks for.
struct StepUp {
    acr_values: Option<Arc<str>>,
    max_age: Option<Duration>,
}

fn push_once<'a>(list: &mut Vec<&'a str>, one: &'a str) {
    if !one.is_empty() && !list.contains(&one) {
        list.push(one);
    }
}

/// How far in the future `auth_time` may lie, for clocks that are not quite together.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

#[async_trait]
impl Authorize for Requirement {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(Ok(match self.check(request.subject(), request.now()) {
            Ok(()) => Decision::permit(),
            Err(denial) => Decision::deny(denial),
        }))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        Ok(match self.check(request.subject(), request.now()) {
            Ok(()) => Decision::permit(),
            Err(denial) => Decision::deny(denial),
        })
    }
}

/// Says what an authenticated principal lacks. The HTTP answer follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// Scopes are lacking: 403 with `insufficient_scope` and this `scope`, separated by spaces.
    InsufficientScope {
        /// All the scopes that the route needs.
        scope: Arc<str>,
    },
    /// The subject must authenticate more strongly or anew: 401 with `insufficient_user_authentication`.
    InsufficientAuthentication {
        /// The accepted `acr` values, separated by spaces.
        acr_values: Option<Arc<str>>,
        /// The greatest age of the authentication.
        max_age: Option<Duration>,
    },
    /// Not allowed, and nothing that the caller can bring would change it: 403.
    Forbidden {
        /// For the log, not for the caller.
        reason: &'static str,
    },
}

impl Denial {
    const fn step_up(acr_values: Option<Arc<str>>, max_age: Option<Duration>) -> Self {
        Self::InsufficientAuthentication { acr_values, max_age }
    }

    /// Tells whether nothing that the caller could bring would help.
    const fn is_final(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// Chooses among the denials of several requirements that must all hold: what nobody can bring weighs most, then
    /// scopes, then step-up.
    fn weightiest(denials: impl Iterator<Item = Self>) -> Option<Self> {
        denials.reduce(|heaviest, denial| if denial.weight() > heaviest.weight() { denial } else { heaviest })
    }

    const fn weight(&self) -> u8 {
        match self {
            Self::Forbidden { .. } => 2,
            Self::InsufficientScope { .. } => 1,
            Self::InsufficientAuthentication { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests;
