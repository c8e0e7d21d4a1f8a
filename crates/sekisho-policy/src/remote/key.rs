//! Stands for a question: all that decides about its answer, and how often what it names was purged.

use std::hash::Hasher as _;

use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Attribute, ConfigError, Resource};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// Stands for a question: 128 bits of SipHash under a random key that nobody else knows, so nobody can look for two
/// questions that have the same; and by chance, 10,000 of them have with 2^-102.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64, u64);

/// Makes the keys of one decider.
///
/// INVARIANT: a purge is one more in a generation that is part of the key. So whatever was asked before it, kept or still on its
/// way, is found by no question that comes after it.
pub(crate) struct Keys {
    hash: SipHasher13,
    context: Part,
    attributes: Part,
    /// Counts purges of everything.
    everything: AtomicU64,
    /// Counts purges of a subject, a session, a token or a grant, by a hash; those that share a place are purged together.
    purges: Box<[AtomicU32]>,
}

/// Says what of an object decides about the answer.
#[derive(Clone, Debug, Default)]
pub(crate) enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The members of these names.
    Named(Box<[Box<str>]>),
}

/// Names what is purged.
#[derive(Clone, Copy)]
pub(crate) enum Purged {
    Subject = 1,
    Session = 2,
    Token = 3,
    Grant = 4,
}

impl Keys {
    pub(crate) fn new(context: Part, attributes: Part) -> Result<Self, ConfigError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| {
            ConfigError::new("the operating system gives no random bytes for the decision cache").with_source(error)
        })?;
        let purges = (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        let hash = SipHasher13::new_with_key(&key);
        Ok(Self { hash, context, attributes, everything: AtomicU64::new(0), purges })
    }

    /// Returns the key of a question; `None` when not all that decides can be written down, so that nothing may be shared.
    ///
    /// - `part`: of whatever else decides, by the protocol.
    pub(crate) fn key(&self, request: &AccessRequest<'_>, part: Option<[u8; 32]>) -> Option<Key> {
        let subject = request.subject();
        let mut writer = Writer(self.hash);
        writer.number(self.everything.load(Ordering::Acquire));
        writer.number(self.generation(Purged::Subject, subject.issuer(), Some(subject.subject())));
        writer.number(self.generation(Purged::Session, subject.issuer(), subject.session_id().as_deref()));
        let token_id = subject.token_id();
        writer.number(self.generation(Purged::Token, subject.issuer(), token_id.as_deref()));
        let grant = token_id.as_deref().and_then(|id| id.split_once('.')).map(|(grant, _)| grant);
        writer.number(self.generation(Purged::Grant, subject.issuer(), grant));

        writer.mark(u8::from(part.is_some()));
        writer.0.write(&part.unwrap_or_default());
        writer.text(subject.issuer());
        writer.text(subject.subject());
        writer.text(request.subject_kind());
        // All that a policy may be shown of the token. What its issuer says of one token may change with each introspection, so
        // its id alone does not stand for it.
        writer.text(subject.claims().as_str());
        writer.text(subject.scope());
        writer.number(subject.roles().len() as u64);
        subject.roles().iter().for_each(|role| writer.text(role));
        writer.optional(subject.client());
        writer.optional(subject.tenant());
        writer.optional_number(subject.expires_at().map(|at| at.as_secs()));

        writer.text(request.action());
        writer.optional(request.action_properties().map(JsonObject::as_str));
        writer.text(request.resource().kind());
        writer.text(request.resource().id());
        self.write_attributes(&mut writer, request.resource())?;
        self.write_context(&mut writer, request.context());
        let (low, high) = writer.0.finish128().as_u64();
        Some(Key(low, high))
    }

    /// Lets nothing be found any more that was asked in the name of this, before.
    pub(crate) fn purge(&self, what: Purged, issuer: &str, id: &str) {
        if let Some(place) = self.place(what, issuer, id) {
            place.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Lets nothing be found any more that was asked before.
    pub(crate) fn purge_all(&self) {
        self.everything.fetch_add(1, Ordering::AcqRel);
    }

    fn write_attributes(&self, writer: &mut Writer, resource: Resource<'_>) -> Option<()> {
        let Some(attributes) = resource.attributes() else {
            writer.mark(0);
            return Some(());
        };
        writer.mark(1);
        match &self.attributes {
            Part::Whole => writer.text(attributes.to_json().ok()?.as_str()),
            Part::Named(names) => {
                for name in names {
                    match attributes.attribute(name) {
                        None => writer.mark(0),
                        Some(Attribute::Text(text)) => writer.marked(1, &text),
                        Some(Attribute::Integer(number)) => {
                            writer.mark(2);
                            writer.number(number.cast_unsigned());
                        }
                        Some(Attribute::Bool(flag)) => writer.mark(3 + u8::from(flag)),
                        Some(Attribute::Json(value)) => writer.marked(5, value.as_json()),
                        Some(_) => return None,
                    }
                }
            }
        }
        Some(())
    }

    fn write_context(&self, writer: &mut Writer, context: Option<&JsonObject>) {
        let Some(context) = context else { return writer.mark(0) };
        writer.mark(1);
        match &self.context {
            Part::Whole => writer.text(context.as_str()),
            Part::Named(names) => {
                names.iter().for_each(|name| writer.optional(context.get(name).map(|value| value.as_json())));
            }
        }
    }

    fn generation(&self, what: Purged, issuer: &str, id: Option<&str>) -> u64 {
        let place = id.and_then(|id| self.place(what, issuer, id));
        place.map_or(0, |place| u64::from(place.load(Ordering::Acquire)))
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut to the number of places")]
    fn place(&self, what: Purged, issuer: &str, id: &str) -> Option<&AtomicU32> {
        let mut writer = Writer(self.hash);
        writer.marked(what as u8, issuer);
        writer.text(id);
        let (low, _) = writer.0.finish128().as_u64();
        self.purges.get(low as usize % PLACES)
    }
}

/// Writes parts so that no two lists of them are the same bytes.
struct Writer(SipHasher13);

impl Writer {
    fn mark(&mut self, mark: u8) {
        self.0.write(&[mark]);
    }

    fn number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.write(text.as_bytes());
    }

    fn marked(&mut self, mark: u8, text: &str) {
        self.mark(mark);
        self.text(text);
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.marked(1, text),
            None => self.mark(0),
        }
    }

    fn optional_number(&mut self, number: Option<u64>) {
        self.mark(u8::from(number.is_some()));
        self.number(number.unwrap_or_default());
    }
}

/// 64 KiB of counters; few where each is one of `shuttle`'s.
const PLACES: usize = if cfg!(sekisho_shuttle) { 4 } else { 1 << 14 };

#[cfg(test)]
mod tests;
