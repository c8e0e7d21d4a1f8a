//! A thread's own copies of what its decisions read: words of the schema, and the policies that were selected.
//!
//! The engine counts references to all of it for each decision, hundreds of them. What threads share they take turns at.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{Policy, PolicyId};

use super::annotations::Demands;
use super::entities::FixedEntities;
use super::index::{Leaf, Selection};
use super::{CedarBuilder, CedarPolicies, Inner, Known, KnownPolicies};

impl CedarPolicies {
    /// Returns what this thread reads.
    pub(super) fn inner(&self) -> &Inner {
        let copies = &*self.0;
        let own = copies.threads.own(|| copies.built.copy(&copies.builder).map(Box::new));
        own.as_deref().unwrap_or(&copies.built)
    }
}

impl Inner {
    /// Reads schema and entities again; `None` where that takes too long for one who waits for a decision.
    pub(super) fn copy(&self, builder: &CedarBuilder) -> Option<Self> {
        if builder.schema.len() > MAX_TEXT {
            return None;
        }
        let words = builder.vocabulary().ok()?;
        let fixed = match builder.entities.len() {
            1..=MAX_TEXT => Arc::new(FixedEntities::read(&builder.entities, &words.schema).ok()?),
            _ => Arc::clone(&self.fixed),
        };
        let policies = Arc::clone(&self.policies);
        Some(Self {
            words,
            index: Arc::clone(&self.index),
            selections: OwnSelections::new(Arc::clone(&policies), builder.annotations.clone()),
            policies,
            fixed,
            provider: self.provider.clone(),
            limits: self.limits,
            revision: Arc::from(&*self.revision),
        })
    }
}

/// Bounds schema and entities, in bytes: to read them takes some milliseconds.
const MAX_TEXT: usize = 32 << 10;

/// Remembers copies of selected policies.
#[derive(Default)]
pub(super) struct OwnSelections(Option<Copier>);

struct Copier {
    policies: Arc<KnownPolicies>,
    /// Annotations that mean something to the application alone.
    annotations: BTreeSet<Box<str>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    selections: HashMap<Box<[Leaf]>, Arc<Selection>, foldhash::fast::RandomState>,
    policies: usize,
}

/// Beyond, a selection is shared: to copy a policy takes some ten microseconds, and memory in each thread.
const MAX_POLICIES: usize = 32;
/// How many policies are copied in all. There is no forgetting, or many requests of different kinds would only copy.
const MAX_KEPT: usize = 1_000;

impl OwnSelections {
    pub(super) fn new(policies: Arc<KnownPolicies>, annotations: BTreeSet<Box<str>>) -> Self {
        Self(Some(Copier { policies, annotations, kept: Mutex::default() }))
    }

    pub(super) fn get(&self, leaves: &[Leaf]) -> Option<Arc<Selection>> {
        let kept = self.0.as_ref()?.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.selections.get(leaves).cloned()
    }

    /// Copies a selection and remembers the copy; returns what was given where that is too large, or there is no room.
    pub(super) fn copy(&self, leaves: Vec<Leaf>, shared: Arc<Selection>) -> Arc<Selection> {
        let Some(copier) = &self.0 else { return shared };
        let count = shared.set.num_of_policies();
        let has_room = || {
            let kept = copier.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.policies + count <= MAX_KEPT
        };
        if count > MAX_POLICIES || !has_room() {
            return shared;
        }
        let Some(copy) = copier.copy(&shared).map(Arc::new) else { return shared };
        let mut kept = copier.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.selections.insert(leaves.into(), Arc::clone(&copy)).is_none() {
            kept.policies += count;
        }
        copy
    }
}

#[cfg(test)]
impl OwnSelections {
    /// Counts the policies that were copied.
    pub(super) fn policies(&self) -> usize {
        self.0.as_ref().map_or(0, |copier| copier.kept.lock().unwrap().policies)
    }
}

impl Copier {
    /// Parses the same text again.
    fn copy(&self, selection: &Selection) -> Option<Selection> {
        let mut policies = Vec::with_capacity(selection.set.num_of_policies());
        let mut known = KnownPolicies::default();
        for policy in selection.set.policies() {
            let of = self.policies.get(policy.id())?;
            let id = PolicyId::new(&*of.id);
            let copy = Policy::parse(Some(id.clone()), policy.to_cedar()?).ok()?;
            let demands = Demands::read(copy.annotations(), &self.annotations).ok()?;
            let (name, error) = (Arc::from(&*of.id), Arc::from(&*of.error));
            known.insert(id, Known { number: of.number, id: name, error, forbids: of.forbids, demands });
            policies.push(copy);
        }
        let policies: Vec<&Policy> = policies.iter().collect();
        Some(Selection { known, ..Selection::new(&policies).ok()? })
    }
}
