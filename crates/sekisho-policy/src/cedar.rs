//! Policies in [Cedar](https://www.cedarpolicy.com), evaluated in this process.
//!
//! [`CedarPolicies`] is a set of policies with its schema, compiled once and never changed; another version is another
//! set. It is made by a [`CedarBuilder`], which holds what stays when policies change.
//!
//! ```
//! use sekisho_core::{AccessRequest, Authorize, Resource, UnixSeconds, dangerous::PrincipalBuilder};
//! use sekisho_core::json::JsonObject;
//! use sekisho_policy::cedar::CedarPolicies;
//!
//! let schema = r#"
//!     entity Role;
//!     entity User in [Role];
//!     entity Order { owner: User };
//!     action read appliesTo { principal: User, resource: Order, context: { now: Long } };
//! "#;
//! let policies = CedarPolicies::builder(schema).with_issuer("https://id.example").build(br#"
//!     @id("own orders") permit(principal, action == Action::"read", resource) when { resource.owner == principal };
//!     @id("support") @redact("iban") permit(principal in Role::"support", action == Action::"read", resource);
//! "#)?;
//! let alice = PrincipalBuilder::new("https://id.example", "alice").build()?;
//! let order = JsonObject::parse(br#"{"owner":"alice"}"#.to_vec())?;
//! let request = AccessRequest::new(&alice, "read", Resource::new("order", "42").with_attributes(&order), UnixSeconds::new(7));
//! let decision = policies.decide_now(&request).expect("there is no provider to wait for")?;
//! assert!(decision.is_permitted());
//! assert_eq!(decision.reasons()[0].policy(), "own orders");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a request becomes
//! | of the request | in Cedar |
//! |---|---|
//! | subject, of the type `user` | `User::"<subject>"`, for the one issuer that was named; see [`CedarBuilder::with_issuer`] |
//! | its roles | parents `Role::"<role>"`, if the schema has the type and lets the subject's type be in it |
//! | its claims | attributes, those of [`CedarBuilder::with_claim`] alone |
//! | what else is known of it | the attributes `issuer`, `client`, `tenant` (`String`), `scopes`, `roles` (`Set<String>`), where the schema declares them and no claim is mapped to them |
//! | action `read` | `Action::"read"` |
//! | resource `order`, `42` | `Order::"42"`: the type's first letter upper case, or as it is |
//! | its attributes | attributes, those that the schema declares |
//! | context | the members that the schema declares for the action; `now` (`Long`, seconds, or `datetime`) is always our clock, and `action_properties` what the request says of the action |
//!
//! Values are read by the types of the schema: text becomes `User::"alice"` where an entity is declared, `decimal("1.5")`
//! where a decimal is. A value of another type is a failure, so no policy ever compares what cannot be equal.
//!
//! # What a decision says
//! - Permit: at least one `permit` holds and no `forbid` does. Reasons are the ids of all that hold.
//! - Deny: a `forbid` holds, or **a `forbid` whose scope matches cannot be evaluated** (Cedar by itself would skip it). Also when
//!   the subject is of another issuer than the one that was named.
//! - Not applicable: no policy holds (Cedar by itself calls it deny), or the schema does not know the action, the resource's type, or
//!   not this action on this type.
//! - A [`Failure`]: an entity could not be loaded, or a value does not fit the schema.
//!
//! A `permit` that cannot be evaluated does not count; it stands among the reasons, as ``cannot be evaluated: `id` ``.
//!
//! # Annotations
//! Every policy has an `@id`, which is its name in decisions. Of the policies that settle the decision count:
//! - `@step_up("gold silver")`, `@max_age("300")`: [`Obligation::STEP_UP`](sekisho_core::Obligation::STEP_UP) with a permit. If all that forbid have it, the
//!   denial says what authentication would help.
//! - `@redact("iban notes")`, `@log("message")`: [`Obligation::REDACT`](sekisho_core::Obligation::REDACT), [`Obligation::LOG`](sekisho_core::Obligation::LOG).
//! - `@obligation("watermark")`, `@obligations("{\"mask\":{\"with\":\"*\"},\"notify\":null}")`: others, without and with parameters.
//! - `@advice("ask your manager")`: a sentence among the reasons.
//!
//! All permits that hold bring their obligations, also if one without any would have been enough. An annotation that is
//! not listed here nor by [`CedarBuilder::with_annotation`] may be a misspelt obligation, and is refused.
//!
//! # What it costs
//! The engine would evaluate every policy. Here those are selected first whose scope can match, by hash; the time of a
//! decision grows with their number and not with that of all. What belongs into the scope (`principal in`, `action ==`,
//! `resource is`) should stand there, not in a condition.
//!
//! So that threads do not wait for one another's reference counts, each that asks (at most four times as many as cores, and 64)
//! has copies of its own: of schema and entities, read anew when it asks for the first time if that takes less than 10 ms, and
//! then of the policies that are selected, up to 16 KiB of text at once and 128 KiB in all. Beyond, and on threads with less than 1 MiB of
//! stack left, they share. Memory is some tens of the text's bytes; [`CedarBuilder::without_thread_copies`] saves it.

mod annotations;
mod build;
mod copy;
mod entities;
mod index;
mod names;
mod nesting;
mod residual;
mod shape;
mod verdict;
mod vocabulary;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use cedar_policy::{Context, Entities, PolicyId, Request};
#[doc(no_inline)]
pub use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use sekisho_core::{
    AccessRequest, Attribute, Authorize, Decision, Denial, EvaluationsSemantic, Failure, FailureKind, Outline,
    UnixSeconds,
};

pub use self::build::{CedarBuilder, CedarLimits};
pub use self::entities::{EntityProvider, ProviderLimits};
pub use self::names::Names;

use self::annotations::Demands;
use self::copy::OwnSelections;
use self::entities::{FixedEntities, Gathering, Loaded, Root};
use self::index::Index;
use self::names::Nameless;
use self::shape::{Member, Shape};
use self::vocabulary::{ActionShape, Vocabulary};
use crate::per_thread::PerThread;

/// Is a set of Cedar policies with its schema, compiled and never changed. A clone costs one counter.
#[derive(Clone)]
pub struct CedarPolicies(Arc<Copies>);

/// Is what each decision reads: the one that was built, and copies of it for the threads.
struct Copies {
    built: Inner,
    /// `None` where what was built serves.
    threads: PerThread<Option<Box<Inner>>>,
    /// Reads the schema and the entities again for a thread, where that is quickly done.
    builder: Option<CedarBuilder>,
    warnings: Vec<String>,
}

struct Inner {
    words: Vocabulary,
    index: Arc<Index>,
    selections: OwnSelections,
    policies: Arc<KnownPolicies>,
    fixed: FixedEntities,
    provider: Option<Arc<dyn EntityProvider>>,
    limits: ProviderLimits,
    revision: Arc<str>,
}

type KnownPolicies = HashMap<PolicyId, Known, foldhash::fast::RandomState>;

/// Is what is known of a policy before any request.
struct Known {
    number: usize,
    id: Arc<str>,
    /// How it stands among the reasons if it cannot be evaluated.
    error: Arc<str>,
    forbids: bool,
    /// Length of its text.
    bytes: usize,
    demands: Demands,
}

/// Is a request in Cedar's words, before its entities are gathered.
struct Question<'a> {
    action: &'a ActionShape,
    request: Request,
    principal: Root,
    resource: Root,
    /// What policies may look at besides; nothing if there is nothing to be had of it.
    references: Vec<EntityUid>,
}

const MISFIT: Failure =
    Failure::new(FailureKind::Misconfigured, "a value of the request is not of the type that the schema declares");

impl CedarPolicies {
    /// Starts from a schema, in Cedar's own syntax. At most 256 KiB.
    pub fn builder(schema: impl Into<String>) -> CedarBuilder {
        CedarBuilder::new(schema.into())
    }

    /// Returns the revision that stands in each decision: the one that was given, else a hash of policies, schema and
    /// entities. The hash tells versions apart within one build of a program, and proves nothing.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.0.built.revision
    }

    /// Returns the number of policies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.built.policies.len()
    }

    /// Tells whether there are no policies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.built.policies.is_empty()
    }

    /// Lists what Cedar's validator warns of: policies that never apply, identifiers that mix scripts.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    async fn decide_with(&self, request: &AccessRequest<'_>, loaded: &mut Loaded) -> Result<Decision, Failure> {
        let (inner, start) = (self.inner(), Instant::now());
        let question = match inner.question(request)? {
            Ok(question) => question,
            Err(nameless) => return Ok(inner.settle(nameless)),
        };
        let mut gathering = inner.gathering(&question);
        inner.load(&mut gathering, loaded, start).await?;
        let Question { action, request: asked, principal, resource, references } = question;
        // What is in the selected policies' conditions can only be known when they are selected.
        let mut again = inner.provider.is_some().then(|| (principal.clone(), resource.clone()));
        let entities = gathering.finish(action.groups(), principal, resource, loaded, &inner.words.schema)?;
        let Some(selection) = inner.select(&asked, &entities)? else {
            return Ok(inner.not_applicable());
        };
        let Some((principal, resource)) = again.take().filter(|_| !selection.literals.is_empty()) else {
            let entities = inner.with_literals(entities, &selection.literals)?;
            return Ok(inner.evaluate(request, &asked, &selection, &entities));
        };
        let mut gathering = inner.gathering_of(&principal, &resource, selection.literals.iter().cloned());
        gathering.add(references);
        inner.load(&mut gathering, loaded, start).await?;
        let entities = gathering.finish(action.groups(), principal, resource, loaded, &inner.words.schema)?;
        Ok(inner.evaluate(request, &asked, &selection, &entities))
    }
}

impl Inner {
    fn settle(&self, nameless: Nameless) -> Decision {
        let decision = match nameless {
            Nameless::OutsideOfSchema => Decision::not_applicable().with_reason("outside of the schema"),
            Nameless::Stranger => {
                Decision::refuse(Denial::Forbidden { reason: "the subject's issuer has no subjects here" })
            }
        };
        decision.with_revision(Arc::clone(&self.revision))
    }

    /// Puts a request into Cedar's words.
    fn question(&self, request: &AccessRequest<'_>) -> Result<Result<Question<'_>, Nameless>, Failure> {
        let names = match self.words.namer.names(request) {
            Ok(names) => names,
            Err(nameless) => return Ok(Err(nameless)),
        };
        let Some(action) = self.words.actions.get(&names.action) else { return Ok(Err(Nameless::OutsideOfSchema)) };
        let is_declared = |types: &[EntityTypeName], uid: &EntityUid| types.contains(uid.type_name());
        if !is_declared(&action.principals, &names.principal) || !is_declared(&action.resources, &names.resource) {
            return Ok(Err(Nameless::OutsideOfSchema));
        }
        let mut references = Vec::new();
        let principal = self.principal(request, &names.principal, &mut references)?;
        let resource = self.resource(request, &names, &mut references)?;
        let context = context(&action.context, request, &mut references)?;
        // The types were compared above, and each value was read by its type.
        let Names { principal: who, action: what, resource: whereto } = names;
        let asked = Request::new(who, what, whereto, context, None).map_err(|_| MISFIT)?;
        Ok(Ok(Question { action, request: asked, principal, resource, references }))
    }

    fn principal(
        &self,
        request: &AccessRequest<'_>,
        uid: &EntityUid,
        references: &mut Vec<EntityUid>,
    ) -> Result<Root, Failure> {
        let subject = request.subject();
        let mut root = Root { uid: uid.clone(), attributes: Vec::new(), parents: Vec::new(), exists: true };
        let Some(shape) = self.words.shapes.entities.get(uid.type_name()) else { return Ok(root) };
        for Member { name, shape, .. } in &shape.attributes {
            let claim = self.words.claims.iter().find(|(attribute, _)| attribute == name);
            let value = match (claim, &**name) {
                (Some((_, claim)), _) => subject.claims().get(claim).map(Attribute::Json),
                (None, "issuer") => Some(subject.issuer().into()),
                (None, "client") => subject.client().map(Into::into),
                (None, "tenant") => subject.tenant().map(Into::into),
                (None, "scopes") => {
                    root.attributes.push((name.to_string(), texts(subject.scopes())));
                    continue;
                }
                (None, "roles") => {
                    root.attributes.push((name.to_string(), texts(subject.roles().iter().map(AsRef::as_ref))));
                    continue;
                }
                (None, _) => None,
            };
            if let Some(value) = value {
                self.read(&mut root, name, shape, &value, references)?;
            }
        }
        if let Some(role) = self.words.role.as_ref().filter(|role| shape.parents.contains(role)) {
            let roles = subject.roles().iter();
            root.parents.extend(roles.map(|name| EntityUid::from_type_name_and_id(role.clone(), EntityId::new(name))));
            if self.leads_further() {
                references.extend(root.parents.iter().cloned());
            }
        }
        Ok(root)
    }

    fn resource(
        &self,
        request: &AccessRequest<'_>,
        names: &Names,
        references: &mut Vec<EntityUid>,
    ) -> Result<Root, Failure> {
        let uid = &names.resource;
        let mut root = Root { uid: uid.clone(), attributes: Vec::new(), parents: Vec::new(), exists: false };
        let attributes = request.resource().attributes();
        let (Some(attributes), Some(shape)) = (attributes, self.words.shapes.entities.get(uid.type_name())) else {
            return Ok(root);
        };
        root.exists = true;
        let is_own = names.principal == *uid;
        for Member { name, shape, .. } in &shape.attributes {
            // Of the subject itself, only its issuer says this: a claim that lacks stays lacking.
            if is_own && self.is_of_the_subject(name) {
                continue;
            }
            if let Some(value) = attributes.attribute(name) {
                self.read(&mut root, name, shape, &value, references)?;
            }
        }
        Ok(root)
    }

    /// Tells whether an attribute of principals is read from the subject.
    fn is_of_the_subject(&self, attribute: &str) -> bool {
        const ALWAYS: [&str; 5] = ["issuer", "client", "tenant", "scopes", "roles"];
        ALWAYS.contains(&attribute) || self.words.claims.iter().any(|(claimed, _)| **claimed == *attribute)
    }

    fn read(
        &self,
        root: &mut Root,
        name: &str,
        shape: &Shape,
        value: &Attribute<'_>,
        references: &mut Vec<EntityUid>,
    ) -> Result<(), Failure> {
        let before = references.len();
        if let Some(value) = shape.read(value, references).map_err(|_| MISFIT)? {
            root.attributes.push((name.to_owned(), value));
        }
        let names_parents =
            |(kind, attribute): &(EntityTypeName, Box<str>)| kind == root.uid.type_name() && **attribute == *name;
        if self.words.parents.iter().any(names_parents) {
            root.parents.extend(references.get(before..).unwrap_or_default().iter().cloned());
        }
        Ok(())
    }

    fn gathering(&self, question: &Question<'_>) -> Gathering<'_> {
        self.gathering_of(&question.principal, &question.resource, question.references.iter().cloned())
    }

    fn gathering_of(
        &self,
        principal: &Root,
        resource: &Root,
        references: impl IntoIterator<Item = EntityUid>,
    ) -> Gathering<'_> {
        let mut gathering = Gathering::new(&self.fixed, self.provider.as_deref());
        gathering.add([principal, resource].map(|root| &root.uid).into_iter().cloned());
        gathering.add(references);
        gathering
    }

    /// Tells whether anything is known of entities beside what the request says.
    fn leads_further(&self) -> bool {
        !self.fixed.is_empty() || self.provider.is_some()
    }

    /// Loads what lacks, within what is left of the time since `start`.
    async fn load(&self, gathering: &mut Gathering<'_>, loaded: &mut Loaded, start: Instant) -> Result<(), Failure> {
        if self.provider.is_none() {
            gathering.advance(loaded);
            return Ok(());
        }
        let left = self.limits.time.saturating_sub(start.elapsed());
        tokio::time::timeout(left, gathering.complete(loaded, &self.limits))
            .await
            .map_err(|_| Failure::unavailable("the entities of a decision took too long to load"))?
    }

    fn select(&self, asked: &Request, entities: &Entities) -> Result<Option<Arc<index::Selection>>, Failure> {
        let (principal, action, resource) = named(asked)?;
        self.index.select(principal, action, resource, entities, &self.selections).map_err(|error| broken(&error))
    }

    /// Adds the fixed entities that conditions name and to which the request itself did not lead.
    fn with_literals(&self, entities: Entities, literals: &[EntityUid]) -> Result<Entities, Failure> {
        if literals.is_empty() || self.fixed.is_empty() {
            return Ok(entities);
        }
        let more = self.fixed.reachable(literals, &entities);
        if more.is_empty() {
            return Ok(entities);
        }
        entities.add_entities(more, None).map_err(|error| broken(&error))
    }
}

/// Returns the three entities that a request is about.
fn named(asked: &Request) -> Result<(&EntityUid, &EntityUid, &EntityUid), Failure> {
    match (asked.principal(), asked.action(), asked.resource()) {
        (Some(principal), Some(action), Some(resource)) => Ok((principal, action, resource)),
        _ => Err(MISFIT),
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureKind::Misconfigured, "policies cannot be put together").with_source(error.to_string())
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.map(|text| RestrictedExpression::new_string(text.to_owned())))
}

fn context(
    members: &[Member],
    request: &AccessRequest<'_>,
    references: &mut Vec<EntityUid>,
) -> Result<Context, Failure> {
    if members.is_empty() {
        return Ok(Context::empty());
    }
    let mut fields = Vec::with_capacity(members.len());
    for Member { name, shape, .. } in members {
        let value = match &**name {
            // Whatever the caller says the time is, it is ours that counts.
            "now" => Some(now(shape, request.now())?),
            "action_properties" => match request.action_properties() {
                Some(properties) => shape.read_object(properties, references).map_err(|_| MISFIT)?,
                None => None,
            },
            name => match request.context().and_then(|context| context.get(name)) {
                Some(value) => shape.read(&Attribute::Json(value), references).map_err(|_| MISFIT)?,
                None => None,
            },
        };
        fields.extend(value.map(|value| (name.to_string(), value)));
    }
    Context::from_pairs(fields).map_err(|_| MISFIT)
}

fn now(shape: &Shape, now: UnixSeconds) -> Result<RestrictedExpression, Failure> {
    if matches!(shape, Shape::Datetime) {
        return Ok(RestrictedExpression::new_datetime(shape::datetime(now).ok_or(MISFIT)?));
    }
    i64::try_from(now.as_secs()).map(RestrictedExpression::new_long).map_err(|_| MISFIT)
}

#[async_trait]
impl Authorize for CedarPolicies {
    /// Decides at once, unless the request leads to entities that the provider has to be asked for.
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let inner = self.inner();
        let question = match inner.question(request) {
            Ok(Ok(question)) => question,
            Ok(Err(nameless)) => return Some(Ok(inner.settle(nameless))),
            Err(failure) => return Some(Err(failure)),
        };
        let loaded = Loaded::default();
        let mut gathering = inner.gathering(&question);
        if !gathering.advance(&loaded).is_empty() {
            return None;
        }
        let Question { action, request: asked, principal, resource, .. } = question;
        let decide = || {
            let entities = gathering.finish(action.groups(), principal, resource, &loaded, &inner.words.schema)?;
            let Some(selection) = inner.select(&asked, &entities)? else { return Ok(Some(inner.not_applicable())) };
            if let Some(provider) = &inner.provider
                && inner.fixed.leads_to(&selection.literals, |uid| provider.provides(uid.type_name()))
            {
                return Ok(None);
            }
            let entities = inner.with_literals(entities, &selection.literals)?;
            Ok(Some(inner.evaluate(request, &asked, &selection, &entities)))
        };
        decide().transpose()
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.decide_with(request, &mut Loaded::default()).await
    }

    /// Decides several requests, and loads each entity only once for all of them.
    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        let mut loaded = Loaded::default();
        let mut decisions = Vec::with_capacity(requests.len());
        for request in requests {
            let decision = self.decide_with(request, &mut loaded).await;
            let is_last = semantic.ends_with(&decision);
            decisions.push(decision);
            if is_last {
                break;
            }
        }
        decisions
    }

    fn outline(&self) -> Outline {
        Outline::leaf(format!("cedar ({} policies, revision {})", self.len(), self.revision()))
    }
}

impl fmt::Debug for CedarPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarPolicies")
            .field("policies", &self.len())
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
