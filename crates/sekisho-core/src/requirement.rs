use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::json::{JsonKind, JsonValue};
use crate::{
    AccessRequest, Attribute, Authorize, Decision, Explanation, Failure, FailureKind, Outline, Principal, Resource,
    UnixSeconds,
};

mod explain;
mod scopes;
mod tally;

use scopes::push_once;
use tally::{Tally, denial_of, deny_all, inverse};

/// Is a rule in Rust: what must hold for a request to pass.
///
/// [`scope`], [`role`], [`claim`], [`authentication_context`] and [`max_age`] ask the principal alone, and guard a route as
/// a layer. [`owner`] and [`same_tenant`] ask the resource too, [`when`] anything, [`decided_by`] another authorizer, also
/// one that has to wait for the network; they belong where the resource is known: in the handler with the loaded object, or
/// in a layer that names it. [`any_of`], [`all_of`] and [`not`] put them together, what is decided at once before what has
/// to wait. A clone costs one counter.
///
/// # Examples
/// ```
/// use sekisho_core::{any_of, role, scope, UnixSeconds, dangerous::PrincipalBuilder};
/// let writer = any_of([scope("orders:write"), role("admin")]);
/// let caller = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:write").build()?;
/// assert!(writer.check(&caller, UnixSeconds::new(0)).is_ok());
/// # Ok::<(), sekisho_core::json::JsonError>(())
/// ```
#[derive(Clone)]
pub struct Requirement(Arc<Rule>);

enum Rule {
    Scope(Arc<str>),
    Role(Box<str>),
    Claim(Box<str>, ClaimValue),
    Owner(Box<str>),
    SameTenant(Box<str>),
    When(Box<str>, Box<Condition>),
    WhenAsync(Box<str>, Box<AsyncCondition>),
    DecidedBy(Arc<dyn Authorize>),
    Not(Requirement),
    AuthenticationContext(Box<[Box<str>]>),
    MaxAge(Duration),
    Any(Box<[Requirement]>),
    All(Box<[Requirement]>),
}

type Condition = dyn Fn(&AccessRequest<'_>) -> bool + Send + Sync;
type AsyncCondition = dyn for<'a> Fn(&'a AccessRequest<'a>) -> Answering<'a> + Send + Sync;
type Answering<'a> = Pin<Box<dyn Future<Output = Result<bool, Failure>> + Send + 'a>>;

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

/// Asks that a claim have this value: a string, a whole number, true or false; or that it be an array with this string in
/// it. Otherwise 403.
#[must_use]
pub fn claim(name: impl Into<Box<str>>, value: impl Into<ClaimValue>) -> Requirement {
    Requirement(Arc::new(Rule::Claim(name.into(), value.into())))
}

/// Asks that the principal be the owner of the resource: that this attribute of it be the principal's subject.
///
/// A subject is unique within its issuer alone. Where several issuers are accepted, ask for the issuer too, for example
/// `all_of([claim("iss", "https://id.example"), owner("owner")])`. A resource without this attribute has no owner.
#[must_use]
pub fn owner(attribute: impl Into<Box<str>>) -> Requirement {
    Requirement(Arc::new(Rule::Owner(attribute.into())))
}

/// Asks that this attribute of the resource be the principal's tenant. Without a tenant on either side, it is not.
#[must_use]
pub fn same_tenant(attribute: impl Into<Box<str>>) -> Requirement {
    Requirement(Arc::new(Rule::SameTenant(attribute.into())))
}

/// Asks a function of your own; `name` stands for it in logs.
///
/// # Examples
/// ```
/// use sekisho_core::{all_of, scope, when};
/// let small_refund = all_of([scope("orders:refund"), when("at most 100", |request| {
///     let total = request.resource().attributes().and_then(|order| order.attribute("total")?.as_integer());
///     total.is_some_and(|total| total <= 100)
/// })]);
/// ```
#[must_use]
pub fn when(
    name: impl Into<Box<str>>,
    condition: impl Fn(&AccessRequest<'_>) -> bool + Send + Sync + 'static,
) -> Requirement {
    Requirement(Arc::new(Rule::When(name.into(), Box::new(condition))))
}

/// Asks an async function of your own, such as one that looks into a database; `name` stands for it in logs.
///
/// It is asked once for each decision, and only where what can be told at once has not decided. Its [`Failure`] is one of the
/// whole rule, unless an alternative in an [`any_of`] permits, and [`not`] makes nothing else of it. How long it may take is
/// its own affair: dropping the future must be safe.
///
/// # Examples
/// ```
/// use sekisho_core::{Failure, any_of, owner, when_async};
/// # #[derive(Clone)]
/// # struct Shares;
/// # impl Shares { async fn has(&self, _: &str, _: &str) -> Result<bool, std::io::Error> { Ok(true) } }
/// # let shares = Shares;
/// let readable = any_of([owner("owner"), when_async("shared with her", move |request| {
///     let shares = shares.clone();
///     Box::pin(async move {
///         let shared = shares.has(request.resource().id(), request.subject().subject()).await;
///         shared.map_err(|error| Failure::unavailable("the table of shares").with_source(error))
///     })
/// })]);
/// ```
#[must_use]
pub fn when_async<F>(name: impl Into<Box<str>>, condition: F) -> Requirement
where
    F: for<'a> Fn(&'a AccessRequest<'a>) -> Pin<Box<dyn Future<Output = Result<bool, Failure>> + Send + 'a>>,
    F: Send + Sync + 'static,
{
    Requirement(Arc::new(Rule::WhenAsync(name.into(), Box::new(condition))))
}

/// Asks another authorizer: a policy, a decision service, a type of your own that has to wait.
///
/// Its obligations become those of the whole decision if it permits.
#[must_use]
pub fn decided_by(authorizer: impl Authorize + 'static) -> Requirement {
    Requirement(Arc::new(Rule::DecidedBy(Arc::new(authorizer))))
}

/// Asks that this not hold.
///
/// What could not be decided, of what nobody speaks, and what was [refused](Decision::refuse) because nobody could tell, such
/// as the owner of a resource that does not say it, stays so: none of it is a permit.
#[must_use]
pub fn not(requirement: Requirement) -> Requirement {
    Requirement(Arc::new(Rule::Not(requirement)))
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
    /// Decides for this principal at `now`, where there is no resource.
    ///
    /// # Errors
    /// [`Denial`] says what is lacking, and so how the caller could come by it. A rule that needs the resource, has to wait
    /// or comes with obligations is denied here, as it cannot be decided; [`Enforcer`](crate::Enforcer) does.
    pub fn check(&self, principal: &Principal, now: UnixSeconds) -> Result<(), Denial> {
        let request = AccessRequest::new(principal, "", Resource::new("", ""), now);
        let cannot = |reason| Err(Denial::Forbidden { reason });
        match self.decide_now(&request) {
            Some(Ok(decision)) if decision.is_permitted() => {
                if decision.obligations().is_empty() {
                    Ok(())
                } else {
                    cannot("the rule comes with obligations, which nobody fulfils here")
                }
            }
            Some(Ok(decision)) => Err(denial_of(&decision)),
            Some(Err(_)) => cannot("the rule could not be decided"),
            None => cannot("the rule has to wait, which cannot be done here"),
        }
    }

    /// Decides as far as it can be done at once.
    fn decide_here(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let principal = request.subject();
        // Of a resource that does not say it, or not as a text, nobody can tell.
        let attribute_is = |attribute: &str, value: &str, reason: &'static str| {
            let found = request.resource().attributes().and_then(|attributes| attributes.attribute(attribute));
            match found.as_ref().and_then(Attribute::as_text).filter(|found| !found.is_empty() && !value.is_empty()) {
                Some(found) => holds_or(*found == *value, reason),
                None => Decision::refuse(Denial::Forbidden { reason }),
            }
        };
        Some(Ok(match &*self.0 {
            Rule::Scope(scope) => {
                let mut asked = scope.split(' ');
                if !scope.is_empty() && asked.all(|one| principal.has_scope(one)) {
                    Decision::permit()
                } else {
                    Decision::deny(Denial::InsufficientScope { scope: Arc::clone(scope) })
                }
            }
            Rule::Role(role) => holds_or(principal.has_role(role), "the principal lacks a role"),
            Rule::Claim(name, value) => {
                let holds = principal.claims().get(name).is_some_and(|found| value.is(found));
                holds_or(holds, "the principal lacks a claim")
            }
            Rule::Owner(attribute) => {
                attribute_is(attribute, principal.subject(), "the principal does not own the resource")
            }
            Rule::SameTenant(attribute) => {
                attribute_is(attribute, principal.tenant().unwrap_or(""), "the resource belongs to another tenant")
            }
            Rule::When(_, condition) => holds_or(condition(request), NO_CONDITION),
            Rule::WhenAsync(..) => return None,
            Rule::AuthenticationContext(accepted) => {
                let held = principal.authentication_context();
                if held.is_some_and(|acr| accepted.iter().any(|a| **a == *acr)) {
                    Decision::permit()
                } else {
                    Decision::deny(Denial::step_up(Some(accepted.join(" ").into()), None))
                }
            }
            Rule::MaxAge(age) => {
                if is_fresh(principal, *age, request.now()) {
                    Decision::permit()
                } else {
                    Decision::deny(Denial::step_up(None, Some(*age)))
                }
            }
            Rule::DecidedBy(authorizer) => return authorizer.decide_now(request),
            Rule::Not(requirement) => return requirement.decide_now(request).map(inverse),
            Rule::Any(requirements) => return any_here(requirements, request),
            Rule::All(requirements) => return all_here(requirements, request),
        }))
    }

    /// Collects the scopes that are asked for in any case, each once.
    fn collect_scopes<'a>(&'a self, asked: &mut Vec<&'a str>) {
        match &*self.0 {
            Rule::Scope(scope) => scope.split(' ').for_each(|one| push_once(asked, one)),
            Rule::All(requirements) => requirements.iter().for_each(|requirement| requirement.collect_scopes(asked)),
            _ => {}
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
            _ => {}
        }
    }
}

const NO_CONDITION: &str = "a condition does not hold";

fn holds_or(holds: bool, reason: &'static str) -> Decision {
    if holds { Decision::permit() } else { Decision::deny(Denial::Forbidden { reason }) }
}

/// Is what a challenge of RFC 9470 asks for.
struct StepUp {
    acr_values: Option<Arc<str>>,
    max_age: Option<Duration>,
}

/// How far in the future `auth_time` may lie, for clocks that are not quite together.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

fn any_here(requirements: &[Requirement], request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
    let (mut tally, mut waits) = (Tally::default(), false);
    for requirement in requirements {
        match requirement.decide_here(request) {
            Some(Ok(decision)) if decision.is_permitted() => return Some(Ok(decision)),
            Some(outcome) => tally.count(outcome),
            None => waits = true,
        }
    }
    (!waits).then(|| tally.into_none())
}

fn all_here(requirements: &[Requirement], request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
    let (mut tally, mut waits) = (Tally::default(), false);
    for requirement in requirements {
        match requirement.decide_here(request) {
            Some(outcome) => tally.count(outcome),
            None => waits = true,
        }
    }
    // What is denied here is denied, whatever the others would say: nobody has to be waited for.
    if let Some(denied) = deny_all(requirements, std::mem::take(&mut tally.denials)) {
        return Some(Ok(denied));
    }
    (!waits).then(|| tally.into_all())
}

/// `auth_time` in the future is as bad as none: it must not count as fresh.
pub(crate) fn is_fresh(principal: &Principal, age: Duration, now: UnixSeconds) -> bool {
    principal.authenticated_at().is_some_and(|at| at <= now.saturating_add(CLOCK_SKEW) && now.since(at) <= age)
}

#[async_trait]
impl Authorize for Requirement {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        self.decide_here(request)
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        if let Some(outcome) = self.decide_now(request) {
            return outcome;
        }
        let mut tally = Tally::default();
        match &*self.0 {
            Rule::Any(requirements) => {
                for requirement in requirements {
                    match requirement.decide(request).await {
                        Ok(decision) if decision.is_permitted() => return Ok(decision),
                        outcome => tally.count(outcome),
                    }
                }
                tally.into_none()
            }
            Rule::All(requirements) => {
                for requirement in requirements {
                    tally.count(requirement.decide(request).await);
                    if !tally.denials.is_empty() {
                        break;
                    }
                }
                match deny_all(requirements, std::mem::take(&mut tally.denials)) {
                    Some(denied) => Ok(denied),
                    None => tally.into_all(),
                }
            }
            Rule::DecidedBy(authorizer) => authorizer.decide(request).await,
            Rule::WhenAsync(_, condition) => Ok(holds_or(condition(request).await?, NO_CONDITION)),
            Rule::Not(requirement) => inverse(requirement.decide(request).await),
            _ => Err(Failure::new(FailureKind::Misconfigured, "a rule that is decided at once was not")),
        }
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        explain::explain(self, request).await
    }

    /// An `any_of` has those of each of its members, an `all_of` each joined with each; a [`decided_by`] those of whom it asks.
    fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        scopes::alternatives(self)
    }

    fn outline(&self) -> Outline {
        let parts = |requirements: &[Self]| requirements.iter().map(Self::outline).collect::<Vec<_>>();
        match &*self.0 {
            Rule::Scope(scope) => Outline::leaf(format!("scope {scope}")),
            Rule::Role(role) => Outline::leaf(format!("role {role}")),
            Rule::Claim(name, value) => Outline::leaf(format!("claim {name} is {value}")),
            Rule::Owner(attribute) => Outline::leaf(format!("owner, by {attribute}")),
            Rule::SameTenant(attribute) => Outline::leaf(format!("same tenant, by {attribute}")),
            Rule::When(name, _) | Rule::WhenAsync(name, _) => Outline::leaf(format!("when {name}")),
            Rule::AuthenticationContext(accepted) => Outline::leaf(format!("acr one of {}", accepted.join(" "))),
            Rule::MaxAge(age) => Outline::leaf(format!("authenticated within {} s", age.as_secs())),
            Rule::DecidedBy(authorizer) => authorizer.outline(),
            Rule::Not(requirement) => Outline::branch("not", [requirement.outline()]),
            Rule::Any(requirements) => Outline::branch("any_of", parts(requirements)),
            Rule::All(requirements) => Outline::branch("all_of", parts(requirements)),
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Requirement").field(&self.outline()).finish()
    }
}

/// Is the value that a claim must have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimValue {
    /// A string, or an array with this string in it.
    Text(Box<str>),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
}

impl ClaimValue {
    fn is(&self, found: JsonValue<'_>) -> bool {
        match self {
            Self::Text(text) if found.kind() == JsonKind::Array => {
                found.elements().into_iter().any(|one| one.as_str().as_deref() == Some(text))
            }
            Self::Text(text) => found.as_str().as_deref() == Some(text),
            Self::Integer(number) => {
                found.kind() == JsonKind::Number && found.deserialize::<i64>().is_ok_and(|one| one == *number)
            }
            Self::Bool(flag) => found.as_bool() == Some(*flag),
        }
    }
}

impl From<&str> for ClaimValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for ClaimValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for ClaimValue {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => number.fmt(f),
            Self::Bool(flag) => flag.fmt(f),
        }
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
    /// Whoever decides does not take the credential any more, though it passed here: 401 with `invalid_token`.
    InvalidToken,
    /// Not allowed, and nothing that the caller can bring would change it: 403.
    Forbidden {
        /// For the log, not for the caller.
        reason: &'static str,
    },
}

impl Denial {
    pub(crate) const fn step_up(acr_values: Option<Arc<str>>, max_age: Option<Duration>) -> Self {
        Self::InsufficientAuthentication { acr_values, max_age }
    }

    pub(crate) fn deep_clone(&self) -> Self {
        match self {
            Self::InsufficientScope { scope } => Self::InsufficientScope { scope: Arc::from(&**scope) },
            Self::InsufficientAuthentication { acr_values, max_age } => {
                Self::InsufficientAuthentication { acr_values: acr_values.as_deref().map(Arc::from), max_age: *max_age }
            }
            Self::InvalidToken => Self::InvalidToken,
            Self::Forbidden { reason } => Self::Forbidden { reason },
        }
    }

    /// Tells whether nothing that the caller could bring would help.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// Chooses among the denials of several requirements that must all hold: a credential that is no good weighs most, then
    /// what nobody can bring, then scopes, then step-up.
    pub(crate) fn weightiest(denials: impl Iterator<Item = Self>) -> Option<Self> {
        denials.reduce(|heaviest, denial| if denial.weight() > heaviest.weight() { denial } else { heaviest })
    }

    const fn weight(&self) -> u8 {
        match self {
            Self::InvalidToken => 3,
            Self::Forbidden { .. } => 2,
            Self::InsufficientScope { .. } => 1,
            Self::InsufficientAuthentication { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests;
