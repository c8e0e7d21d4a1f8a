//! Counts what a library said against what was to be said.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::libraries::Verdict;

/// Is what was to be said of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Accept,
    Refuse,
    /// A standard leaves room: taking it is counted, but not as wrong.
    Either,
}

/// Counts for one library. Ids come with the variants (algorithms) in which they went wrong.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) asked: usize,
    pub(crate) agreed: usize,
    pub(crate) not_offered: usize,
    pub(crate) wrongly_accepted: Ids,
    pub(crate) wrongly_refused: Ids,
    pub(crate) panicked: Ids,
    pub(crate) took_where_free: Ids,
}

/// Lists ids, each with what it is about and in which variants it happened.
#[derive(Default)]
pub(crate) struct Ids(pub(crate) BTreeMap<String, (String, Vec<&'static str>)>);

impl Ids {
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(|(_, variants)| variants.len()).sum()
    }

    fn add(&mut self, id: &str, name: &str, variant: &'static str) {
        self.0.entry(id.to_owned()).or_insert_with(|| (name.to_owned(), Vec::new())).1.push(variant);
    }
}

impl Tally {
    /// Asks, and counts the answer.
    pub(crate) fn ask(
        &mut self,
        (id, name): (&str, &str),
        variant: &'static str,
        wanted: Wanted,
        ask: impl FnOnce() -> Verdict,
    ) {
        let Ok(verdict) = catch_unwind(AssertUnwindSafe(ask)) else {
            self.asked += 1;
            self.panicked.add(id, name, variant);
            return;
        };
        match (wanted, verdict) {
            (_, Verdict::NotOffered) => {
                self.not_offered += 1;
                return;
            }
            (Wanted::Accept, Verdict::Accepted) | (Wanted::Refuse | Wanted::Either, Verdict::Refused) => {
                self.agreed += 1;
            }
            (Wanted::Either, Verdict::Accepted) => self.took_where_free.add(id, name, variant),
            (Wanted::Accept, Verdict::Refused) => self.wrongly_refused.add(id, name, variant),
            (Wanted::Refuse, Verdict::Accepted) => self.wrongly_accepted.add(id, name, variant),
        }
        self.asked += 1;
    }
}
