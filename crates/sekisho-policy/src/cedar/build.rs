use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use cedar_policy::{Effect, Entities, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, Validator};
use miette::Diagnostic;
use sekisho_core::{AccessRequest, ConfigError};

use super::copy::OwnSelections;
use super::entities::FixedEntities;
use super::index::Index;
use super::names::{Issuers, Namer, Names};
use super::nesting::{Kind, too_deep};
use super::shape::{Shape, Shapes, type_name};
use super::vocabulary::{ActionShape, Actions, Vocabulary};
use super::{CedarPolicies, Copies, Demands, EntityProvider, Inner, Known, KnownPolicies, ProviderLimits};
use crate::per_thread::{PerThread, timed};

/// Bounds what is read when policies are built.
#[derive(Clone, Copy, Debug)]
pub struct CedarLimits {
    /// Bytes of policies. Default 4 MiB.
    pub policy_bytes: usize,
    /// Policies. Default 20,000.
    pub policies: usize,
    /// Bytes of fixed entities, as JSON. Default 4 MiB.
    pub entity_bytes: usize,
}

impl Default for CedarLimits {
    fn default() -> Self {
        Self { policy_bytes: 4 << 20, policies: 20_000, entity_bytes: 4 << 20 }
    }
}

const MAX_SCHEMA: usize = 256 << 10;
const MAX_ID: usize = 256;

type Naming = Arc<dyn Fn(&AccessRequest<'_>) -> Option<Names> + Send + Sync>;

/// Builds [`CedarPolicies`]. It can be kept, and build each version of the policies.
#[derive(Clone)]
#[must_use]
pub struct CedarBuilder {
    schema: String,
    entities: String,
    namespace: String,
    issuers: Issuers,
    claims: Vec<(Box<str>, Box<str>)>,
    parents: Vec<(String, Box<str>)>,
    kinds: BTreeMap<Box<str>, String>,
    pub(super) annotations: BTreeSet<Box<str>>,
    role: Option<String>,
    naming: Option<Naming>,
    provider: Option<Arc<dyn EntityProvider>>,
    provider_limits: ProviderLimits,
    limits: CedarLimits,
    revision: Option<Arc<str>>,
    has_copies: bool,
}

impl CedarBuilder {
    pub(super) fn new(schema: String) -> Self {
        Self {
            schema,
            entities: String::new(),
            namespace: String::new(),
            issuers: Issuers::Undecided,
            claims: Vec::new(),
            parents: Vec::new(),
            kinds: BTreeMap::new(),
            annotations: BTreeSet::new(),
            role: None,
            naming: None,
            provider: None,
            provider_limits: ProviderLimits::default(),
            limits: CedarLimits::default(),
            revision: None,
            has_copies: true,
        }
    }

    /// Knows the subjects of this issuer, as `User::"<subject>"`. Those of any other issuer are denied: their `alice` is
    /// somebody else. This, [`with_issuer_in_ids`](Self::with_issuer_in_ids) or [`with_names`](Self::with_names) is
    /// required.
    pub fn with_issuer(mut self, issuer: impl Into<Arc<str>>) -> Self {
        self.issuers = Issuers::One(issuer.into());
        self
    }

    /// Knows the subjects of all issuers that get so far, as `User::"<issuer>|<subject>"`.
    pub fn with_issuer_in_ids(mut self) -> Self {
        self.issuers = Issuers::InId;
        self
    }

    /// Names principal, action and resource by a function. `None` is a denial.
    pub fn with_names(mut self, naming: impl Fn(&AccessRequest<'_>) -> Option<Names> + Send + Sync + 'static) -> Self {
        self.naming = Some(Arc::new(naming));
        self
    }

    /// Sets the namespace in which types and actions are looked for. Default none.
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Says which type of the schema a request's word for a type means, for example `purchase-order` and
    /// `Shop::Order`. By default the word with its first letter upper case, or as it is, in the namespace.
    pub fn with_kind(mut self, kind: impl Into<Box<str>>, type_name: impl Into<String>) -> Self {
        self.kinds.insert(kind.into(), type_name.into());
        self
    }

    /// Reads an attribute of principals from a claim. No other claim gets to the policies.
    pub fn with_claim(mut self, attribute: impl Into<Box<str>>, claim: impl Into<Box<str>>) -> Self {
        self.claims.push((attribute.into(), claim.into()));
        self
    }

    /// Takes what an attribute of this type of entities names for parents of the entity: the folder of a document.
    pub fn with_parents_from(mut self, type_name: impl Into<String>, attribute: impl Into<Box<str>>) -> Self {
        self.parents.push((type_name.into(), attribute.into()));
        self
    }

    /// Sets the type of roles. Default `Role` in the namespace, if the schema has it.
    pub fn with_role_type(mut self, type_name: impl Into<String>) -> Self {
        self.role = Some(type_name.into());
        self
    }

    /// Adds entities that are the same for every request, in Cedar's JSON form: a hierarchy of roles or folders. What is
    /// fixed of a request's own principal or resource wins over what the request says.
    pub fn with_entities(mut self, json: impl Into<String>) -> Self {
        self.entities = json.into();
        self
    }

    /// Asks for entities that a request leads to.
    pub fn with_provider(mut self, provider: impl EntityProvider + 'static, limits: ProviderLimits) -> Self {
        self.provider = Some(Arc::new(provider));
        self.provider_limits = limits;
        self
    }

    /// Allows an annotation that means something to the application alone.
    pub fn with_annotation(mut self, name: impl Into<Box<str>>) -> Self {
        self.annotations.insert(name.into());
        self
    }

    /// Sets the bounds. See [`CedarLimits`] for the defaults.
    pub fn with_limits(mut self, limits: CedarLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the revision. Default a hash of policies, schema and entities.
    pub fn with_revision(mut self, revision: impl Into<Arc<str>>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Makes no copies for threads, which saves memory where there are many sets of policies, one for each tenant perhaps. Threads
    /// that decide at once then wait for one another: two decide about 1.3 times as much as one.
    pub const fn without_thread_copies(mut self) -> Self {
        self.has_copies = false;
        self
    }

    /// Compiles policies and checks them against the schema, strictly. Templates are not served.
    ///
    /// # Errors
    /// [`ConfigError`], which names policy and line, when
    /// - something is larger than its bound, or not UTF-8; also a policy of more than 256 operators or 64 `if`, or with brackets
    ///   nested more than 64 deep,
    /// - nothing says whose subjects the principals are,
    /// - the schema or the entities cannot be read, or name what there is not,
    /// - a policy cannot be parsed, has no `@id`, or that of another one, or an annotation that is unknown or malformed,
    /// - a policy does not fit the schema.
    pub fn build(&self, policies: impl AsRef<[u8]>) -> Result<CedarPolicies, ConfigError> {
        let text = self.text(policies.as_ref())?;
        if matches!(self.issuers, Issuers::Undecided) && self.naming.is_none() {
            return Err(ConfigError::new("name the issuer whose subjects the principals are"));
        }
        let ((words, fixed), is_quick) = timed(|| self.read())?;
        let (policies, known) = self.read_policies(text)?;
        let warnings = validate(&policies, &words.schema, text)?;
        let revision = self.revision.clone().unwrap_or_else(|| hash(&[text, &self.schema, &self.entities]));
        let built = Inner {
            words,
            index: Arc::new(Index::new(policies)),
            selections: OwnSelections::default(),
            policies: Arc::new(known),
            fixed,
            provider: self.provider.clone(),
            limits: self.provider_limits,
            revision,
        };
        let builder = (is_quick && self.has_copies).then(|| self.clone());
        let copies = Copies { built, threads: PerThread::new(), builder, warnings };
        Ok(CedarPolicies(Arc::new(copies)))
    }

    /// Reads schema and entities.
    pub(super) fn read(&self) -> Result<(Vocabulary, FixedEntities), ConfigError> {
        let words = self.vocabulary()?;
        let entities = if self.entities.is_empty() { "[]" } else { &self.entities };
        let fixed = FixedEntities::read(entities, &words.schema)?;
        Ok((words, fixed))
    }

    /// Reads the schema, and what was said of its words.
    fn vocabulary(&self) -> Result<Vocabulary, ConfigError> {
        let (schema, shapes) = self.read_schema()?;
        let actions = actions(&schema, &shapes)?;
        check_context(&shapes)?;
        self.check_claims(&shapes)?;
        let namer = self.namer(&shapes, &actions)?;
        let role = match &self.role {
            Some(name) => Some(self.declared(name, &shapes)?),
            None => self.declared("Role", &shapes).ok(),
        };
        let mut parents = Vec::new();
        for (name, attribute) in &self.parents {
            let kind = self.declared(name, &shapes)?;
            let declared = shapes.entities.get(&kind);
            let named = declared.and_then(|shape| match shape.attribute(attribute)? {
                Shape::Set(element) => element.entity(),
                shape => shape.entity(),
            });
            // The validator takes it that there are no others.
            if !declared.zip(named).is_some_and(|(shape, named)| shape.parents.contains(named)) {
                return Err(ConfigError::new(format!(
                    "`{attribute}` of `{name}` names no entities that it may be in, by the schema"
                )));
            }
            parents.push((kind, attribute.clone()));
        }
        let claims = self.claims.clone();
        Ok(Vocabulary { schema, shapes, actions, namer, claims, parents, role })
    }

    fn text<'a>(&self, policies: &'a [u8]) -> Result<&'a str, ConfigError> {
        let bounds = [
            (policies.len(), self.limits.policy_bytes, "the policies"),
            (self.schema.len(), MAX_SCHEMA, "the schema"),
            (self.entities.len(), self.limits.entity_bytes, "the entities"),
        ];
        if let Some((_, limit, what)) = bounds.into_iter().find(|(length, limit, _)| length > limit) {
            return Err(ConfigError::new(format!("{what} are longer than {limit} bytes")));
        }
        let text = std::str::from_utf8(policies);
        let text = text.map_err(|error| ConfigError::new("the policies are not UTF-8").with_source(error))?;
        for (what, written, kind) in
            [("the policies", text, Kind::Policies), ("the schema", self.schema.as_str(), Kind::Schema)]
        {
            if let Some(offset) = too_deep(written, kind) {
                let place = line_at(written, offset);
                return Err(ConfigError::new(format!("{what}{place}: too many operators, or nested too deep")));
            }
        }
        Ok(text)
    }

    fn read_schema(&self) -> Result<(Schema, Shapes), ConfigError> {
        let wrong =
            |error: &dyn Diagnostic| ConfigError::new(format!("the schema{}: {error}", place(error, &self.schema)));
        let (fragment, _) = SchemaFragment::from_cedarschema_str(&self.schema).map_err(|error| wrong(&error))?;
        let json = fragment.clone().to_json_value().map_err(|error| wrong(&error))?;
        let schema = Schema::from_schema_fragments([fragment]).map_err(|error| wrong(&error))?;
        Ok((schema, Shapes::read(&json)?))
    }

    fn read_policies(&self, text: &str) -> Result<(Vec<Policy>, KnownPolicies), ConfigError> {
        let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            ConfigError::new(format!("the policies{}: {errors}", place(&errors, text)))
        })?;
        if set.num_of_templates() > 0 {
            return Err(ConfigError::new("templates are not served; write policies"));
        }
        if set.num_of_policies() > self.limits.policies {
            return Err(ConfigError::new(format!("there are more than {} policies", self.limits.policies)));
        }
        let mut policies = Vec::with_capacity(set.num_of_policies());
        let mut known = KnownPolicies::default();
        for (number, policy) in set.policies().enumerate() {
            let line = || line_of(policy, text);
            let id = policy.annotation("id").filter(|id| !id.is_empty() && id.len() <= MAX_ID);
            let id = id.filter(|id| !id.chars().any(char::is_control));
            let Some(id) = id else {
                return Err(ConfigError::new(format!("the policy{} has no `@id` of 1 to {MAX_ID} bytes", line())));
            };
            let demands = Demands::read(policy.annotations(), &self.annotations);
            let demands = demands.map_err(|error| ConfigError::new(format!("policy `{id}`{}: {error}", line())))?;
            let forbids = policy.effect() == Effect::Forbid;
            let error = format!("cannot be evaluated: `{id}`").into();
            let bytes = policy.to_cedar().map_or(usize::MAX, |text| text.len());
            let entry = Known { number, id: id.into(), error, forbids, bytes, demands };
            let name = PolicyId::new(id);
            policies.push(policy.new_id(name.clone()));
            if known.insert(name, entry).is_some() {
                return Err(ConfigError::new(format!("policy `{id}`{}: another one has this id", line())));
            }
        }
        Ok((policies, known))
    }

    fn declared(&self, name: &str, shapes: &Shapes) -> Result<cedar_policy::EntityTypeName, ConfigError> {
        let full = match (self.namespace.is_empty(), name.contains("::")) {
            (true, _) | (_, true) => name.to_owned(),
            (false, false) => format!("{}::{name}", self.namespace),
        };
        let kind = type_name(&full)?;
        if shapes.entities.contains_key(&kind) {
            return Ok(kind);
        }
        Err(ConfigError::new(format!("the schema has no type `{full}`")))
    }

    fn check_claims(&self, shapes: &Shapes) -> Result<(), ConfigError> {
        for (attribute, _) in &self.claims {
            if !shapes.entities.values().any(|shape| shape.attribute(attribute).is_some()) {
                return Err(ConfigError::new(format!("the schema has no attribute `{attribute}`")));
            }
            if self.claims.iter().filter(|(other, _)| other == attribute).count() > 1 {
                return Err(ConfigError::new(format!("two claims are mapped to `{attribute}`")));
            }
        }
        Ok(())
    }

    fn namer(&self, shapes: &Shapes, actions: &Actions) -> Result<Namer, ConfigError> {
        let mut kinds = HashMap::default();
        let in_namespace = |namespace: &str| namespace == self.namespace;
        for kind in shapes.entities.keys().filter(|kind| in_namespace(&kind.namespace())) {
            kinds.insert(kind.basename().into(), kind.clone());
        }
        for kind in shapes.entities.keys().filter(|kind| in_namespace(&kind.namespace())) {
            let mut letters = kind.basename().chars();
            if let Some(first) = letters.next() {
                let lower: String = first.to_lowercase().chain(letters).collect();
                // What the schema itself calls so comes first.
                kinds.entry(lower.into_boxed_str()).or_insert_with(|| kind.clone());
            }
        }
        for (kind, name) in &self.kinds {
            kinds.insert(kind.clone(), self.declared(name, shapes)?);
        }
        let own = actions.keys().filter(|action| in_namespace(&action.type_name().namespace()));
        let actions = own.map(|action| (action.id().unescaped().into(), action.clone())).collect();
        Ok(Namer { issuers: self.issuers.clone(), kinds, actions, custom: self.naming.clone() })
    }
}

fn validate(policies: &[Policy], schema: &Schema, text: &str) -> Result<Vec<String>, ConfigError> {
    let set = PolicySet::from_policies(policies.iter().cloned())
        .map_err(|error| ConfigError::new("policies cannot be put together").with_source(error))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        let place = place(error, text);
        return Err(ConfigError::new(format!(
            "policy `{}`{place} does not fit the schema: {error}",
            error.policy_id()
        )));
    }
    Ok(result.validation_warnings().map(|warning| format!("policy `{}`: {warning}", warning.policy_id())).collect())
}

fn actions(schema: &Schema, shapes: &Shapes) -> Result<Actions, ConfigError> {
    let broken = || ConfigError::new("the schema's actions cannot be read");
    let all = schema.action_entities().map_err(|error| broken().with_source(error))?;
    let mut actions = Actions::default();
    for uid in schema.actions() {
        let with_groups = all.ancestors(uid).into_iter().flatten().chain([uid]);
        let entities: Vec<_> = with_groups.filter_map(|uid| all.get(uid)).cloned().collect();
        let entities = Entities::from_entities(entities, None).map_err(|error| broken().with_source(error))?;
        let principals = schema.principals_for_action(uid).into_iter().flatten().cloned().collect();
        let resources = schema.resources_for_action(uid).into_iter().flatten().cloned().collect();
        let context = shapes.contexts.get(uid).cloned().ok_or_else(broken)?;
        let is_in_groups = entities.len() > 1;
        actions.insert(uid.clone(), ActionShape { entities, is_in_groups, principals, resources, context });
    }
    Ok(actions)
}

fn check_context(shapes: &Shapes) -> Result<(), ConfigError> {
    for member in shapes.contexts.values().flatten() {
        let fits = match &*member.name {
            "now" => matches!(member.shape, Shape::Long | Shape::Datetime),
            "action_properties" => matches!(member.shape, Shape::Record(_)),
            _ => true,
        };
        if !fits {
            let name = &member.name;
            return Err(ConfigError::new(format!(
                "`{name}` of a context: `now` is a Long or a datetime, `action_properties` a record"
            )));
        }
    }
    Ok(())
}

/// Says in which line an error is, as far as it knows.
fn place(error: &dyn Diagnostic, text: &str) -> String {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    offset.map_or_else(String::new, |offset| line_at(text, offset))
}

fn line_of(policy: &Policy, text: &str) -> String {
    let own = policy.to_cedar().and_then(|own| text.find(&own));
    own.map_or_else(String::new, |offset| line_at(text, offset))
}

fn line_at(text: &str, offset: usize) -> String {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    format!(" (line {})", 1 + before.iter().filter(|byte| **byte == b'\n').count())
}

fn hash(texts: &[&str]) -> Arc<str> {
    let half = |seed| foldhash::quality::FixedState::with_seed(seed).hash_one(texts);
    format!("{:016x}{:016x}", half(1), half(2)).into()
}
