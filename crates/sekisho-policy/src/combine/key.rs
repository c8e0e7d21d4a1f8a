use std::hash::{Hash as _, Hasher};

use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, ConfigError, Principal};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Makes keys of questions: a keyed hash of 128 bits, so that nobody who does not know the key makes two questions meet.
pub(super) struct KeyMaker {
    key: [u8; 16],
}

/// Says which members of the context count.
pub(super) enum CountedContext {
    All,
    Named(Box<[Box<str>]>),
}

impl KeyMaker {
    pub(super) fn new() -> Result<Self, ConfigError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)
            .map_err(|error| ConfigError::new("the operating system gives no random numbers").with_source(error))?;
        Ok(Self { key })
    }

    /// Makes the key of a question: of who asks and by which credential, and of all that is asked. `None` if the resource
    /// cannot be written.
    pub(super) fn of_request(&self, request: &AccessRequest<'_>, counted: &CountedContext) -> Option<u128> {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        subject(request.subject(), &mut hasher);
        request.subject_kind().hash(&mut hasher);
        request.action().hash(&mut hasher);
        object(request.action_properties(), &mut hasher);
        let resource = request.resource();
        resource.kind().hash(&mut hasher);
        resource.id().hash(&mut hasher);
        match resource.attributes() {
            None => object(None, &mut hasher),
            Some(attributes) => object(Some(&attributes.to_json().ok()?), &mut hasher),
        }
        match (request.context(), counted) {
            (context, CountedContext::All) => object(context, &mut hasher),
            (context, CountedContext::Named(names)) => {
                for name in names {
                    context.and_then(|context| context.get(name)).map(|value| value.as_json()).hash(&mut hasher);
                }
            }
        }
        Some(hasher.finish128().as_u128())
    }

    /// Makes a key of an id of an issuer, by which what is kept is found again.
    pub(super) fn of_id(&self, issuer: &str, kind: IdKind, id: &str) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        issuer.hash(&mut hasher);
        hasher.write_u8(kind as u8);
        id.hash(&mut hasher);
        hasher.finish128().as_u128()
    }
}

/// Says what an id names.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum IdKind {
    Subject = 1,
    Session = 2,
    Token = 3,
    Grant = 4,
}

/// A policy may ask anything of the credential, so all of it counts: another token of the same subject, with fewer rights
/// perhaps, is another question.
fn subject(principal: &Principal, hasher: &mut SipHasher24) {
    principal.issuer().hash(hasher);
    principal.subject().hash(hasher);
    principal.expires_at().hash(hasher);
    principal.client().hash(hasher);
    principal.scope().hash(hasher);
    principal.roles().hash(hasher);
    principal.tenant().hash(hasher);
    principal.confirmation().hash(hasher);
    object(Some(principal.claims()), hasher);
}

fn object(object: Option<&JsonObject>, hasher: &mut SipHasher24) {
    object.map(JsonObject::as_str).hash(hasher);
}
