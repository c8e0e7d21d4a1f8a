//! A thread's own copies of what its decisions read: words of the schema, and the policies that were selected.
//!
//! The engine counts references to all of it for each decision, hundreds of them. What threads share they take turns at.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cedar_policy::{Policy, PolicyId, PolicySet};

use super::annotations::Demands;
use super::index::{Leaf, Selection};
use super::{CedarBuilder, CedarPolicies, Inner, Known, KnownPolicies};
use crate::per_thread::has_stack;

impl CedarPolicies {
    /// Returns what this thread reads.
    pub(super) fn inner(&self) -> &Inner {
        let copies = &*self.0;
        let Some(builder) = &copies.builder else { return &copies.built };
        let own = copies.threads.own(|| copies.built.copy(builder).map(Box::new));
        own.as_deref().unwrap_or(&copies.built)
    }
}

impl Inner {
    fn copy(&self, builder: &CedarBuilder) -> Option<Self> {
        if !has_stack() {
            return None;
        }
        let (words, fixed) = builder.read().ok()?;
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
    copies: HashMap<PolicyId, (Policy, Arc<Known>), foldhash::fast::RandomState>,
    /// Text of the policies, counted in each selection that has them.
    bytes: usize,
}

/// Text of the policies of one selection. Beyond it is shared: to parse them takes some milliseconds.
const MAX_BYTES: usize = 16 << 10;
/// Text of all that a thread has copied. There is no forgetting, or many requests of different kinds would only copy.
const MAX_KEPT_BYTES: usize = 128 << 10;

impl OwnSelections {
    pub(super) fn new(policies: Arc<KnownPolicies>, annotations: BTreeSet<Box<str>>) -> Self {
        Self(Some(Copier { policies, annotations, kept: Mutex::default() }))
    }

    pub(super) fn get(&self, leaves: &[Leaf]) -> Option<Arc<Selection>> {
        self.0.as_ref()?.lock().selections.get(leaves).cloned()
    }

    /// Copies a selection and remembers the copy; returns what was given where that is too large, or there is no room.
    pub(super) fn copy(&self, leaves: &[Leaf], shared: Arc<Selection>) -> Arc<Selection> {
        self.0.as_ref().and_then(|copier| copier.selection(leaves, &shared)).unwrap_or(shared)
    }
}

impl Copier {
    fn selection(&self, leaves: &[Leaf], shared: &Selection) -> Option<Arc<Selection>> {
        let lengths =
            shared.set.policies().map(|policy| self.policies.get(policy.id()).map_or(usize::MAX, |of| of.bytes));
        let bytes = lengths.fold(0, usize::saturating_add);
        let mut kept = self.lock();
        if bytes > MAX_BYTES || kept.bytes + bytes > MAX_KEPT_BYTES || !has_stack() {
            return None;
        }
        let (mut policies, mut known) = (Vec::new(), HashMap::default());
        for policy in shared.set.policies() {
            let (copy, of) = self.policy(&mut kept, policy)?;
            known.insert(copy.id().clone(), of);
            policies.push(copy);
        }
        let set = Arc::new(PolicySet::from_policies(policies).ok()?);
        let copy = Arc::new(Selection { set, literals: shared.literals.clone(), known });
        kept.bytes += bytes;
        kept.selections.insert(leaves.into(), Arc::clone(&copy));
        Some(copy)
    }

    /// Parses the text of a policy again, once.
    fn policy(&self, kept: &mut Kept, policy: &Policy) -> Option<(Policy, Arc<Known>)> {
        if let Some(copied) = kept.copies.get(policy.id()) {
            return Some(copied.clone());
        }
        let Known { number, id, error, forbids, bytes, demands: _ } = self.policies.get(policy.id())?;
        let copy = Policy::parse(Some(PolicyId::new(&**id)), policy.to_cedar()?).ok()?;
        let demands = Demands::read(copy.annotations(), &self.annotations).ok()?;
        let (id, error) = (Arc::from(&**id), Arc::from(&**error));
        let known = Arc::new(Known { number: *number, id, error, forbids: *forbids, bytes: *bytes, demands });
        let copied = (copy, known);
        kept.copies.insert(policy.id().clone(), copied.clone());
        Some(copied)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl OwnSelections {
    /// Counts the bytes of the policies that were copied, and the policies.
    pub(super) fn kept(&self) -> (usize, usize) {
        let Some(copier) = &self.0 else { return (0, 0) };
        let kept = copier.lock();
        (kept.bytes, kept.copies.len())
    }
}
