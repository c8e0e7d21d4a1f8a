use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, EvalResult, RestrictedExpression, Schema};
use sekisho_core::{ConfigError, Failure, FailureKind};

/// Loads entities that policies look at and that neither the request nor the fixed entities bring: the groups of a user,
/// the folder of a document.
///
/// One entity is asked for at most once in a decision, and at most once in a batch. What it says of the request's own
/// principal or resource wins over what the request says, attribute by attribute; parents are united. Must be safe to
/// drop at every await.
#[async_trait]
pub trait EntityProvider: Send + Sync {
    /// Tells whether entities of this type are to be had here. Decisions that lead to none are made without waiting.
    fn provides(&self, kind: &EntityTypeName) -> bool;

    /// Loads entities, each with its direct parents; those that do not exist are left out, in any order.
    ///
    /// Entities that were not asked for are ignored.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be known; there is no decision then.
    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure>;

    /// Lists the entities of the type `kind` that are in `ancestor`, at any distance and whoever says so, for
    /// [`CedarPolicies::filter`](super::CedarPolicies::filter): the folders below a folder. `ancestor` itself may be among
    /// them. Roles are in the request and need not be known here: what is in the principal is asked for besides.
    /// [`ProviderLimits`] bounds the number of lists, that of all entities in them and the time. `None`, which is the
    /// default: there is no such list, and no filter that needs it.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be known; there is no filter then.
    async fn descendants(&self, ancestor: &EntityUid, kind: &EntityTypeName) -> Result<Option<Vec<EntityId>>, Failure> {
        let _ = (ancestor, kind);
        Ok(None)
    }
}

/// Bounds what an [`EntityProvider`] is asked for in one decision. Beyond, there is no decision but a failure.
#[derive(Clone, Copy, Debug)]
pub struct ProviderLimits {
    /// How often it is asked: entities that lead to entities. Default 4.
    pub rounds: usize,
    /// How many entities it is asked for; for a filter, also how many lists, and how many entities these have together.
    /// Default 1,000.
    pub entities: usize,
    /// For how long, in all. Default 200 ms.
    pub time: Duration,
}

impl Default for ProviderLimits {
    fn default() -> Self {
        Self { rounds: 4, entities: 1_000, time: Duration::from_millis(200) }
    }
}

/// What a provider said, for one decision or one batch; `None` is an entity that does not exist.
pub(super) type Loaded = HashMap<EntityUid, Option<Known>>;

/// Is an entity with what it leads to.
#[derive(Clone)]
pub(super) struct Known {
    entity: Entity,
    /// What its attributes name, and then what it is in.
    references: Vec<EntityUid>,
    first_parent: usize,
}

impl Known {
    pub(super) fn new(entity: Entity) -> Self {
        let mut references = Vec::new();
        entity.attrs().chain(entity.tags()).for_each(|(_, value)| {
            if let Ok(value) = value {
                collect(&value, &mut references);
            }
        });
        let first_parent = references.len();
        references.extend(entity.clone().into_inner().2);
        Self { entity, references, first_parent }
    }

    /// Lists what it is in, at any distance that is known here.
    fn parents(&self) -> &[EntityUid] {
        self.references.get(self.first_parent..).unwrap_or_default()
    }
}

fn collect(value: &EvalResult, references: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => references.push(uid.clone()),
        EvalResult::Set(set) => set.iter().for_each(|value| collect(value, references)),
        EvalResult::Record(record) => record.iter().for_each(|(_, value)| collect(value, references)),
        EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::ExtensionValue(_) => {}
    }
}

/// Holds entities that are the same for every request: a hierarchy of roles, of folders.
#[derive(Default)]
pub(super) struct FixedEntities {
    known: HashMap<EntityUid, Known, foldhash::fast::RandomState>,
    kinds: HashMap<EntityTypeName, FixedKind, foldhash::fast::RandomState>,
}

/// Says of all fixed entities of one type what filters ask, which ask it for each member of a set.
#[derive(Default)]
struct FixedKind {
    attributes: HashSet<String>,
    /// Which of them are in an entity, at any distance.
    below: HashMap<EntityUid, Vec<EntityUid>, foldhash::fast::RandomState>,
}

impl FixedEntities {
    fn new(known: HashMap<EntityUid, Known, foldhash::fast::RandomState>) -> Self {
        let mut kinds: HashMap<EntityTypeName, FixedKind, _> = HashMap::default();
        for (uid, known) in &known {
            let kind = kinds.entry(uid.type_name().clone()).or_default();
            kind.attributes.extend(known.entity.attrs().map(|(name, _)| name.to_owned()));
            for ancestor in known.parents() {
                kind.below.entry(ancestor.clone()).or_default().push(uid.clone());
            }
        }
        Self { known, kinds }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Lists the entities to which these lead, without those that `have` already has.
    pub(super) fn reachable(&self, from: &[EntityUid], have: &Entities) -> Vec<Entity> {
        let mut queue = from.to_vec();
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while let Some(uid) = queue.pop() {
            let is_new = have.get(&uid).is_none() && seen.insert(uid.clone());
            let Some(known) = self.known.get(&uid).filter(|_| is_new) else { continue };
            queue.extend(known.references.iter().cloned());
            found.push(known.entity.clone());
        }
        found
    }

    /// Tells whether these, or what they lead to, are such that they have to be loaded.
    pub(super) fn leads_to(&self, from: &[EntityUid], is_loaded: impl Fn(&EntityUid) -> bool) -> bool {
        let mut queue = from.to_vec();
        let mut seen = HashSet::new();
        while let Some(uid) = queue.pop() {
            if is_loaded(&uid) {
                return true;
            }
            if let Some(known) = self.known.get(&uid)
                && seen.insert(uid)
            {
                queue.extend(known.references.iter().cloned());
            }
        }
        false
    }

    /// Tells whether an attribute of some entity of this type is fixed.
    pub(super) fn says(&self, kind: &EntityTypeName, attribute: &str) -> bool {
        self.kinds.get(kind).is_some_and(|kind| kind.attributes.contains(attribute))
    }

    /// Tells whether some entity of this type has parents.
    pub(super) fn has_parents(&self, kind: &EntityTypeName) -> bool {
        self.kinds.get(kind).is_some_and(|kind| !kind.below.is_empty())
    }

    /// Lists the entities of a type that are in `target`.
    pub(super) fn members(&self, kind: &EntityTypeName, target: &EntityUid) -> &[EntityUid] {
        self.kinds.get(kind).and_then(|kind| kind.below.get(target)).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn read(json: &str, schema: &Schema) -> Result<Self, ConfigError> {
        let entities = Entities::from_json_str(json, Some(schema))
            .map_err(|error| ConfigError::new("the entities do not fit the schema").with_source(error))?;
        let own = entities.into_iter().filter(|entity| entity.uid().type_name().basename() != "Action");
        Ok(Self::new(own.map(|entity| (entity.uid(), Known::new(entity))).collect()))
    }
}

/// Is the principal or the resource of a request, as the request describes it.
#[derive(Clone)]
pub(super) struct Root {
    pub(super) uid: EntityUid,
    pub(super) attributes: Vec<(String, RestrictedExpression)>,
    pub(super) parents: Vec<EntityUid>,
    /// There is such an entity even if nothing is known of it.
    pub(super) exists: bool,
}

impl Root {
    /// Puts together what the request says and what is known; what is known wins.
    fn merge(self, known: Option<&Entity>) -> Result<Option<Entity>, Failure> {
        let Self { uid, attributes, parents, exists } = self;
        let Some(known) = known else {
            if !exists && attributes.is_empty() && parents.is_empty() {
                return Ok(None);
            }
            return entity(uid, attributes, parents).map(Some);
        };
        let (_, known_attributes, known_parents) = known.clone().into_inner();
        let mut all: HashMap<String, RestrictedExpression> = attributes.into_iter().collect();
        all.extend(known_attributes);
        // The transitive closure counts as parents here, which is as good.
        let parents: HashSet<EntityUid> = parents.into_iter().chain(known_parents).collect();
        let tags: Option<Vec<_>> =
            known.tags().map(|(name, value)| Some((name.to_owned(), restricted(value.ok()?)?))).collect();
        // The source may quote the value.
        Entity::new_with_tags(uid, all, parents, tags.ok_or(UNREADABLE)?).map(Some).map_err(|_| UNREADABLE)
    }
}

const UNREADABLE: Failure = Failure::new(FailureKind::Misconfigured, "an attribute cannot be read");

fn entity(
    uid: EntityUid,
    attributes: Vec<(String, RestrictedExpression)>,
    parents: Vec<EntityUid>,
) -> Result<Entity, Failure> {
    if attributes.is_empty() {
        return Ok(Entity::new_no_attrs(uid, parents.into_iter().collect()));
    }
    // The source may quote the value.
    Entity::new_with_tags(uid, attributes, parents, []).map_err(|_| UNREADABLE)
}

fn restricted(value: EvalResult) -> Option<RestrictedExpression> {
    Some(match value {
        EvalResult::Bool(flag) => RestrictedExpression::new_bool(flag),
        EvalResult::Long(number) => RestrictedExpression::new_long(number),
        EvalResult::String(text) => RestrictedExpression::new_string(text),
        EvalResult::EntityUid(uid) => RestrictedExpression::new_entity_uid(uid),
        EvalResult::Set(set) => {
            RestrictedExpression::new_set(set.iter().cloned().map(restricted).collect::<Option<Vec<_>>>()?)
        }
        EvalResult::Record(record) => {
            let fields = record.iter().map(|(name, value)| Some((name.clone(), restricted(value.clone())?)));
            RestrictedExpression::new_record(fields.collect::<Option<Vec<_>>>()?).ok()?
        }
        EvalResult::ExtensionValue(text) => text.parse().ok()?,
    })
}

/// Collects all entities to which a request leads: whatever else there is, the engine cannot get at it.
pub(super) struct Gathering<'a> {
    fixed: &'a FixedEntities,
    provider: Option<&'a dyn EntityProvider>,
    seen: HashSet<EntityUid, foldhash::fast::RandomState>,
    queue: Vec<EntityUid>,
    found: Vec<EntityUid>,
    rounds: usize,
    asked: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(fixed: &'a FixedEntities, provider: Option<&'a dyn EntityProvider>) -> Self {
        let (seen, queue, found) = (HashSet::default(), Vec::new(), Vec::new());
        Self { fixed, provider, seen, queue, found, rounds: 0, asked: 0 }
    }

    /// Adds entities that the engine may look at.
    pub(super) fn add(&mut self, uids: impl IntoIterator<Item = EntityUid>) {
        if !self.fixed.known.is_empty() || self.provider.is_some() {
            self.queue.extend(uids);
        }
    }

    /// Goes on as far as possible without waiting, and returns what has to be loaded to go further.
    pub(super) fn advance(&mut self, loaded: &Loaded) -> Vec<EntityUid> {
        let mut lacking = Vec::new();
        while let Some(uid) = self.queue.pop() {
            if self.seen.contains(&uid) {
                continue;
            }
            let is_provided = self.provider.is_some_and(|provider| provider.provides(uid.type_name()));
            if is_provided && !loaded.contains_key(&uid) {
                self.seen.insert(uid.clone());
                lacking.push(uid);
                continue;
            }
            self.seen.insert(uid.clone());
            if let Some(known) = known(self.fixed, loaded, &uid) {
                self.queue.extend(known.references.iter().cloned());
                self.found.push(uid);
            }
        }
        lacking
    }

    /// Loads what lacks, until nothing does.
    pub(super) async fn complete(&mut self, loaded: &mut Loaded, limits: &ProviderLimits) -> Result<(), Failure> {
        loop {
            let lacking = self.advance(loaded);
            let Some(provider) = self.provider.filter(|_| !lacking.is_empty()) else { return Ok(()) };
            self.rounds += 1;
            self.asked += lacking.len();
            if self.rounds > limits.rounds || self.asked > limits.entities {
                return Err(Failure::new(FailureKind::Misconfigured, "a decision needs too many entities"));
            }
            let answers = provider.load(&lacking).await?;
            loaded.extend(lacking.iter().map(|uid| (uid.clone(), None)));
            for answer in answers {
                let uid = answer.uid();
                // What nobody asked for must not stand in for something that somebody else says.
                if !lacking.contains(&uid) {
                    continue;
                }
                if loaded.insert(uid, Some(Known::new(answer))).flatten().is_some() {
                    return Err(Failure::new(FailureKind::BadGateway, "an entity was loaded twice"));
                }
            }
            for uid in lacking {
                self.seen.remove(&uid);
                self.queue.push(uid);
            }
        }
    }

    /// Adds what was found to the entities of the request's action, if it has any.
    pub(super) fn finish(
        self,
        base: Option<&Entities>,
        principal: Root,
        resource: Root,
        loaded: &Loaded,
        schema: &Schema,
    ) -> Result<Entities, Failure> {
        let mut entities = Vec::with_capacity(self.found.len() + 2);
        for uid in &self.found {
            if *uid != principal.uid && *uid != resource.uid {
                entities.extend(known(self.fixed, loaded, uid).map(|known| known.entity.clone()));
            }
        }
        let is_loaded = |uid: &EntityUid| matches!(loaded.get(uid), Some(Some(_)));
        let of = |uid: &EntityUid| known(self.fixed, loaded, uid).map(|known| &known.entity);
        if principal.uid == resource.uid {
            let Root { mut attributes, mut parents, .. } = resource;
            // The principal's own attributes come last, and win.
            attributes.extend(principal.attributes);
            parents.extend(principal.parents);
            let attributes: HashMap<_, _> = attributes.into_iter().collect();
            let attributes = attributes.into_iter().collect();
            let known = of(&principal.uid);
            let both = Root { uid: principal.uid, attributes, parents, exists: true };
            entities.extend(both.merge(known)?);
        } else {
            for root in [principal, resource] {
                let known = of(&root.uid);
                entities.extend(root.merge(known)?);
            }
        }
        const MISFIT: Failure = Failure::new(FailureKind::BadGateway, "a loaded entity does not fit the schema");
        if loaded.values().any(Option::is_some) {
            // What the request and the fixed entities bring has been checked; what was loaded has not.
            let strangers = entities.iter().filter(|entity| is_loaded(&entity.uid())).cloned();
            Entities::empty().add_entities(strangers, Some(schema)).map_err(|_| MISFIT)?;
        }
        let all = match base {
            Some(base) => base.clone().add_entities(entities, None),
            None => Entities::from_entities(entities, None),
        };
        all.map_err(|error| MISFIT.with_source(error))
    }
}

fn known<'a>(fixed: &'a FixedEntities, loaded: &'a Loaded, uid: &EntityUid) -> Option<&'a Known> {
    match loaded.get(uid) {
        Some(Some(known)) => Some(known),
        Some(None) | None => fixed.known.get(uid),
    }
}
