//! Keys of questions that nothing finds any more once what they name was purged.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use sekisho_core::{AccessRequest, ConfigError};

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::key::{IdKind, Key, KeyMaker, Part};

/// Makes the keys of one decider.
///
/// INVARIANT: a purge is one more in a generation that is part of the key. So whatever was asked before it, kept or still on its
/// way, is found by no question that comes after it.
pub(crate) struct Keys {
    maker: KeyMaker,
    /// Counts purges of everything.
    everything: AtomicU64,
    /// Counts purges of a subject, a session, a token or a grant, by a hash; those that share a place are purged together.
    purges: Box<[AtomicU32]>,
    /// Chooses the places. Ids that were made to share one have no more of it than to be forgotten together.
    places: FixedState,
}

impl Keys {
    pub(crate) fn new(context: Part, attributes: Part) -> Result<Self, ConfigError> {
        let maker = KeyMaker::new(context, attributes)?;
        let places = getrandom::u64().map_err(|error| {
            ConfigError::new("the operating system gives no random bytes for the decision cache").with_source(error)
        })?;
        let purges = (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        Ok(Self { maker, everything: AtomicU64::new(0), purges, places: FixedState::with_seed(places) })
    }

    /// Returns the key of a question; `None` when not all that decides can be written down, so that nothing may be shared.
    ///
    /// - `part`: of whatever else decides, by the protocol.
    pub(crate) fn key(&self, request: &AccessRequest<'_>, part: Option<[u8; 32]>) -> Option<Key> {
        let subject = request.subject();
        let (issuer, token_id) = (subject.issuer(), subject.token_id());
        let grant = token_id.as_deref().and_then(|id| id.split_once('.')).map(|(grant, _)| grant);
        // Before anything else is read, so that a purge meanwhile makes another key.
        let generations = [
            self.everything.load(Ordering::Acquire),
            self.generation(IdKind::Subject, issuer, Some(subject.subject())),
            self.generation(IdKind::Session, issuer, subject.session_id().as_deref()),
            self.generation(IdKind::Token, issuer, token_id.as_deref()),
            self.generation(IdKind::Grant, issuer, grant),
        ];
        self.maker.question(request, |writer| {
            generations.into_iter().for_each(|generation| writer.number(generation));
            writer.optional_bytes(part.as_ref().map(<[u8; 32]>::as_slice));
        })
    }

    /// Lets nothing be found any more that was asked in the name of this, before.
    pub(crate) fn purge(&self, what: IdKind, issuer: &str, id: &str) {
        if let Some(place) = self.place(what, issuer, id) {
            place.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Lets nothing be found any more that was asked before.
    pub(crate) fn purge_all(&self) {
        self.everything.fetch_add(1, Ordering::AcqRel);
    }

    fn generation(&self, what: IdKind, issuer: &str, id: Option<&str>) -> u64 {
        let place = id.and_then(|id| self.place(what, issuer, id));
        place.map_or(0, |place| u64::from(place.load(Ordering::Acquire)))
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut to the number of places")]
    fn place(&self, what: IdKind, issuer: &str, id: &str) -> Option<&AtomicU32> {
        self.purges.get(self.places.hash_one((what as u8, issuer, id)) as usize % PLACES)
    }
}

/// 64 KiB of counters; few where each is one of `shuttle`'s.
const PLACES: usize = if cfg!(sekisho_shuttle) { 4 } else { 1 << 14 };

#[cfg(test)]
mod tests;
