//! Stands for a question in memory: all that decides about its answer, as one number.

use std::hash::Hasher as _;

use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Attribute, ConfigError, Confirmation, Principal, Resource};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Stands for a question, or for an id: 128 bits of SipHash under a random key that nobody else knows, so nobody can look for two
/// questions that have the same; and by chance, 10,000 of them have with 2^-102.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64, u64);

/// Makes keys under a random key of its own: those of another one never meet them.
pub(crate) struct KeyMaker {
    hash: SipHasher13,
    context: Part,
    attributes: Part,
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

/// Says what an id of an issuer names.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum IdKind {
    Subject = 1,
    Session = 2,
    Token = 3,
    Grant = 4,
}

impl KeyMaker {
    /// `context`, `attributes`: what of the circumstances and of the resource decides.
    pub(crate) fn new(context: Part, attributes: Part) -> Result<Self, ConfigError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| {
            ConfigError::new("the operating system gives no random bytes for the keys of questions").with_source(error)
        })?;
        Ok(Self { hash: SipHasher13::new_with_key(&key), context, attributes })
    }

    /// Makes the key of a question; `None` when not all that decides can be written down, so that nothing may be shared.
    ///
    /// A policy may ask anything of the credential, so all of it counts: another token of the same subject, with fewer rights
    /// perhaps, is another question. What its issuer says of one token may change with each introspection, so its id alone does
    /// not stand for it.
    ///
    /// - `besides`: writes whatever else decides, always as many parts.
    pub(crate) fn question(&self, request: &AccessRequest<'_>, besides: impl FnOnce(&mut Writer)) -> Option<Key> {
        let mut writer = Writer(self.hash);
        writer.mark(0);
        besides(&mut writer);
        writer.subject(request.subject())?;
        writer.text(request.subject_kind());
        writer.text(request.action());
        writer.optional(request.action_properties().map(JsonObject::as_str));
        writer.text(request.resource().kind());
        writer.text(request.resource().id());
        self.write_attributes(&mut writer, request.resource())?;
        self.write_context(&mut writer, request.context());
        Some(writer.finish())
    }

    /// Makes the key of an id, by which what is kept is found again.
    pub(crate) fn id(&self, kind: IdKind, issuer: &str, id: &str) -> Key {
        let mut writer = Writer(self.hash);
        writer.mark(kind as u8);
        writer.text(issuer);
        writer.text(id);
        writer.finish()
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
}

/// Writes parts so that no two lists of them are the same bytes.
///
/// INVARIANT: each part says by itself where it ends: a number has 8 bytes, a text its length in front of it. So two questions
/// whose bytes are the same have the same parts.
pub(crate) struct Writer(SipHasher13);

impl Writer {
    fn mark(&mut self, mark: u8) {
        self.0.write_u8(mark);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    #[cfg(feature = "remote")]
    pub(crate) fn optional_bytes(&mut self, bytes: Option<&[u8]>) {
        self.mark(u8::from(bytes.is_some()));
        self.bytes(bytes.unwrap_or_default());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.write(bytes);
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

    fn subject(&mut self, subject: &Principal) -> Option<()> {
        self.text(subject.issuer());
        self.text(subject.subject());
        self.text(subject.claims().as_str());
        self.text(subject.scope());
        self.number(subject.roles().len() as u64);
        subject.roles().iter().for_each(|role| self.text(role));
        self.optional(subject.client());
        self.optional(subject.tenant());
        let expires_at = subject.expires_at();
        self.mark(u8::from(expires_at.is_some()));
        self.number(expires_at.map_or(0, |at| at.as_secs()));
        match subject.confirmation() {
            None => self.mark(0),
            Some(Confirmation::KeyThumbprint(thumbprint)) => self.marked(1, thumbprint),
            Some(Confirmation::CertificateThumbprint(thumbprint)) => self.marked(2, thumbprint),
            Some(_) => return None,
        }
        Some(())
    }

    fn finish(self) -> Key {
        let (low, high) = self.0.finish128().as_u64();
        Key(low, high)
    }
}

#[cfg(test)]
mod tests;
