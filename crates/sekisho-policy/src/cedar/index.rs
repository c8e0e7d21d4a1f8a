use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PolicySetError,
    PrincipalConstraint, ResourceConstraint, pst,
};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Known;
use super::copy::OwnSelections;

/// Finds the policies whose scope matches a request, so that the engine evaluates those alone.
///
/// A policy whose scope does not match is neither satisfied nor an error: Cedar evaluates the scope first, and comparing
/// entities in it cannot fail. So leaving it out changes nothing of the answer.
pub(super) struct Index {
    policies: Vec<Policy>,
    /// Only what scopes name is numbered; whatever else a request names matches no scope.
    types: HashMap<EntityTypeName, u32, foldhash::fast::RandomState>,
    entities: HashMap<EntityUid, u32, foldhash::fast::RandomState>,
    /// By action, then principal, then resource.
    tree: Level<Level<Level<Leaf>>>,
    leaves: Vec<Vec<usize>>,
    /// Sets of policies that were put together for earlier requests, by the leaves that matched.
    selections: Cache<Box<[Leaf]>, Arc<Selection>, WeighPolicies>,
    /// Likewise where so many matched that all policies are evaluated instead: leaving out the others would gain little and
    /// each such set would take as much memory as all of them.
    large: Cache<Box<[Leaf]>, Arc<Selection>, WeighLiterals>,
    whole: OnceLock<Arc<PolicySet>>,
}

type Level<T> = HashMap<Scope, T, foldhash::fast::RandomState>;
pub(super) type Leaf = u32;

/// Is what a scope says of one of the three, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scope {
    Any,
    Is(u32),
    Equal(u32),
    In(u32),
    IsIn(u32, u32),
}

/// Is a set of policies that the engine evaluates together.
pub(super) struct Selection {
    pub(super) set: Arc<PolicySet>,
    /// Entities that conditions name, which the engine may look at though the request does not lead to them.
    pub(super) literals: Vec<EntityUid>,
    /// What is known of its policies, if they are a thread's own copies.
    pub(super) known: HashMap<PolicyId, Arc<Known>, foldhash::fast::RandomState>,
}

impl Selection {
    pub(super) fn new(policies: &[&Policy]) -> Result<Self, Box<PolicySetError>> {
        let set = Arc::new(PolicySet::from_policies(policies.iter().copied().cloned())?);
        Ok(Self { set, literals: literals_of(policies), known: HashMap::default() })
    }
}

#[derive(Clone)]
struct WeighPolicies;

impl Weighter<Box<[Leaf]>, Arc<Selection>> for WeighPolicies {
    fn weight(&self, leaves: &Box<[Leaf]>, selection: &Arc<Selection>) -> u64 {
        (1 + leaves.len() + selection.set.num_of_policies()) as u64
    }
}

#[derive(Clone)]
struct WeighLiterals;

impl Weighter<Box<[Leaf]>, Arc<Selection>> for WeighLiterals {
    fn weight(&self, leaves: &Box<[Leaf]>, selection: &Arc<Selection>) -> u64 {
        (1 + leaves.len() + selection.literals.len()) as u64
    }
}

/// How many policies the remembered sets hold together.
const REMEMBERED_POLICIES: u64 = 20_000;
/// About how many sets there are. This few, the cache has four parts at the most, and the largest set that is remembered has room
/// in one: what has not is put together anew each time.
const REMEMBERED_SETS: usize = 128;
/// From one in this many policies on, and from this many, all of them are evaluated.
const WHOLE_FROM: (usize, usize) = (5, 64);

impl Index {
    /// Indexes policies, none of which may be linked to a template.
    pub(super) fn new(policies: Vec<Policy>) -> Self {
        let mut index = Self {
            policies: Vec::new(),
            types: HashMap::default(),
            entities: HashMap::default(),
            tree: Level::default(),
            leaves: Vec::new(),
            selections: Cache::with_weighter(REMEMBERED_SETS, REMEMBERED_POLICIES, WeighPolicies),
            large: Cache::with_weighter(REMEMBERED_SETS, REMEMBERED_POLICIES, WeighLiterals),
            whole: OnceLock::new(),
        };
        for (number, policy) in policies.iter().enumerate() {
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::Any => Scope::Any,
                PrincipalConstraint::Is(kind) => Scope::Is(intern(&mut index.types, kind)),
                PrincipalConstraint::Eq(uid) => Scope::Equal(intern(&mut index.entities, uid)),
                PrincipalConstraint::In(uid) => Scope::In(intern(&mut index.entities, uid)),
                PrincipalConstraint::IsIn(kind, uid) => {
                    Scope::IsIn(intern(&mut index.types, kind), intern(&mut index.entities, uid))
                }
            };
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any => Scope::Any,
                ResourceConstraint::Is(kind) => Scope::Is(intern(&mut index.types, kind)),
                ResourceConstraint::Eq(uid) => Scope::Equal(intern(&mut index.entities, uid)),
                ResourceConstraint::In(uid) => Scope::In(intern(&mut index.entities, uid)),
                ResourceConstraint::IsIn(kind, uid) => {
                    Scope::IsIn(intern(&mut index.types, kind), intern(&mut index.entities, uid))
                }
            };
            let actions = match policy.action_constraint() {
                ActionConstraint::Any => vec![Scope::Any],
                ActionConstraint::Eq(uid) => vec![Scope::Equal(intern(&mut index.entities, uid))],
                ActionConstraint::In(uids) => {
                    uids.into_iter().map(|uid| Scope::In(intern(&mut index.entities, uid))).collect()
                }
            };
            for action in actions {
                let Self { tree, leaves, .. } = &mut index;
                let by_resource = tree.entry(action).or_default().entry(principal).or_default();
                let leaf = *by_resource.entry(resource).or_insert_with(|| {
                    leaves.push(Vec::new());
                    Leaf::try_from(leaves.len() - 1).unwrap_or(Leaf::MAX)
                });
                if let Some(leaf) = leaves.get_mut(leaf as usize) {
                    leaf.push(number);
                }
            }
        }
        index.policies = policies;
        index
    }

    /// Selects the policies whose scope matches, or all where most do; `None` if none does.
    pub(super) fn select(
        &self,
        principal: &EntityUid,
        action: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
        own: &OwnSelections,
    ) -> Result<Option<Arc<Selection>>, Box<PolicySetError>> {
        let actions = self.scopes(action, entities);
        let principals = self.scopes(principal, entities);
        let resources = self.scopes(resource, entities);
        let mut found = Vec::new();
        each(&self.tree, &actions, |by_principal| {
            each(by_principal, &principals, |by_resource| {
                each(by_resource, &resources, |leaf| found.push(*leaf));
            });
        });
        if found.is_empty() {
            return Ok(None);
        }
        found.sort_unstable();
        if let Some(known) = own.get(&found) {
            return Ok(Some(known));
        }
        if self.is_most(&found) {
            return self.large(&found).map(Some);
        }
        let selection = self.selection(&found)?;
        Ok(Some(own.copy(&found, selection)))
    }

    /// Selects the policies whose scope may match for some resource or other.
    pub(super) fn select_for_any_resource(
        &self,
        principal: &EntityUid,
        action: &EntityUid,
        entities: &Entities,
    ) -> Result<Option<Arc<Selection>>, Box<PolicySetError>> {
        let actions = self.scopes(action, entities);
        let principals = self.scopes(principal, entities);
        let mut found = Vec::new();
        each(&self.tree, &actions, |by_principal| {
            each(by_principal, &principals, |by_resource| found.extend(by_resource.values()));
        });
        if found.is_empty() {
            return Ok(None);
        }
        found.sort_unstable();
        self.selection(&found).map(Some)
    }

    fn selection(&self, leaves: &[Leaf]) -> Result<Arc<Selection>, Box<PolicySetError>> {
        if let Some(known) = self.selections.get(leaves) {
            return Ok(known);
        }
        let selection = Arc::new(Selection::new(&self.policies_of(leaves))?);
        self.selections.insert(leaves.into(), Arc::clone(&selection));
        Ok(selection)
    }

    fn is_most(&self, leaves: &[Leaf]) -> bool {
        let (one_in, at_least) = WHOLE_FROM;
        let count: usize = leaves.iter().filter_map(|leaf| self.leaves.get(*leaf as usize)).map(Vec::len).sum();
        count >= at_least && count * one_in > self.policies.len()
    }

    /// Selects all policies. The engine looks at no condition, and so at none of the entities that it names, of those whose
    /// scope does not match.
    fn large(&self, leaves: &[Leaf]) -> Result<Arc<Selection>, Box<PolicySetError>> {
        if let Some(known) = self.large.get(leaves) {
            return Ok(known);
        }
        let whole = match self.whole.get() {
            Some(whole) => Arc::clone(whole),
            None => {
                let whole = Arc::new(PolicySet::from_policies(self.policies.iter().cloned())?);
                Arc::clone(self.whole.get_or_init(|| whole))
            }
        };
        let literals = literals_of(&self.policies_of(leaves));
        let selection = Arc::new(Selection { set: whole, literals, known: HashMap::default() });
        self.large.insert(leaves.into(), Arc::clone(&selection));
        Ok(selection)
    }

    fn policies_of(&self, leaves: &[Leaf]) -> Vec<&Policy> {
        // A policy with several actions stands in several leaves.
        let mut numbers: Vec<usize> =
            leaves.iter().filter_map(|leaf| self.leaves.get(*leaf as usize)).flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().filter_map(|number| self.policies.get(*number)).collect()
    }

    /// Lists all scopes that match an entity, sorted.
    fn scopes(&self, uid: &EntityUid, entities: &Entities) -> Vec<Scope> {
        let mut scopes = Vec::with_capacity(8);
        scopes.push(Scope::Any);
        let kind = self.types.get(uid.type_name()).copied();
        scopes.extend(kind.map(Scope::Is));
        let mut is_in = |number: u32| {
            scopes.push(Scope::In(number));
            scopes.extend(kind.map(|kind| Scope::IsIn(kind, number)));
        };
        let own = self.entities.get(uid).copied();
        own.into_iter().for_each(&mut is_in);
        entities
            .ancestors(uid)
            .into_iter()
            .flatten()
            .filter(|ancestor| *ancestor != uid)
            .filter_map(|ancestor| self.entities.get(ancestor))
            .for_each(|number| is_in(*number));
        scopes.extend(own.map(Scope::Equal));
        scopes.sort_unstable();
        scopes
    }
}

fn intern<K: Hash + Eq>(numbers: &mut HashMap<K, u32, foldhash::fast::RandomState>, key: K) -> u32 {
    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    *numbers.entry(key).or_insert(next)
}

/// Visits what lies under each of the scopes, by going through the smaller of the two.
fn each<T>(level: &Level<T>, scopes: &[Scope], mut visit: impl FnMut(&T)) {
    if level.len() < scopes.len() {
        level.iter().filter(|(scope, _)| scopes.binary_search(scope).is_ok()).for_each(|(_, below)| visit(below));
    } else {
        scopes.iter().filter_map(|scope| level.get(scope)).for_each(visit);
    }
}

fn literals_of(policies: &[&Policy]) -> Vec<EntityUid> {
    let mut literals = Vec::new();
    policies.iter().for_each(|policy| entities_of_conditions(policy, &mut literals));
    literals.sort_by_cached_key(ToString::to_string);
    literals.dedup();
    literals
}

/// Collects the entities that the conditions of a policy name, but not those of its scope.
fn entities_of_conditions(policy: &Policy, found: &mut Vec<EntityUid>) {
    if !policy.has_non_scope_constraint() {
        return;
    }
    let literals = |expression: &pst::Expr| {
        expression.reduce::<Vec<pst::EntityUID>>(
            &|part| match part {
                pst::Expr::Literal(pst::Literal::EntityUID(uid)) => Some(vec![uid.clone()]),
                _ => None,
            },
            &|mut left, right| {
                left.extend(right);
                left
            },
            Vec::new(),
        )
    };
    let Ok(written) = policy.to_pst() else {
        // All of them then: too many entities change nothing.
        found.extend(policy.entity_literals());
        return;
    };
    for clause in written.body().clauses() {
        let (pst::Clause::When(condition) | pst::Clause::Unless(condition)) = clause;
        for uid in literals(condition) {
            if let Ok(kind) = uid.ty.to_string().parse::<EntityTypeName>() {
                found.push(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(&uid.eid)));
            }
        }
    }
}
