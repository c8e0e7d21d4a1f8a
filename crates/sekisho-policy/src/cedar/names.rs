use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use sekisho_core::{AccessRequest, Principal};

/// Names the three entities that a request is about.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "Cedar has these three")]
pub struct Names {
    /// Who asks.
    pub principal: EntityUid,
    /// What is to be done.
    pub action: EntityUid,
    /// To what.
    pub resource: EntityUid,
}

/// Says of whom principals are known, and under which id.
#[derive(Clone, Debug)]
pub(super) enum Issuers {
    Undecided,
    /// The subject alone is the id; nobody else is known.
    One(Arc<str>),
    /// Issuer and subject are the id.
    InId,
}

impl Issuers {
    pub(super) fn id(&self, principal: &Principal) -> Option<EntityId> {
        match self {
            Self::Undecided => None,
            Self::One(issuer) => (principal.issuer() == &**issuer).then(|| EntityId::new(principal.subject())),
            // So that nobody's subject reads as the issuer and subject of somebody else.
            Self::InId if principal.issuer().contains('|') => None,
            Self::InId => Some(EntityId::new(format!("{}|{}", principal.issuer(), principal.subject()))),
        }
    }
}

type Naming = Arc<dyn Fn(&AccessRequest<'_>) -> Option<Names> + Send + Sync>;

/// Turns a request's words into names of entities.
pub(super) struct Namer {
    pub(super) issuers: Issuers,
    pub(super) kinds: HashMap<Box<str>, EntityTypeName, foldhash::fast::RandomState>,
    pub(super) actions: HashMap<Box<str>, EntityUid, foldhash::fast::RandomState>,
    pub(super) custom: Option<Naming>,
}

/// Says why a request has no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nameless {
    /// The schema knows no such type or action, so no policy can speak of it.
    OutsideOfSchema,
    /// Policies may well speak of it, but it cannot be said who it is.
    Stranger,
}

impl Namer {
    pub(super) fn names(&self, request: &AccessRequest<'_>) -> Result<Names, Nameless> {
        if let Some(custom) = &self.custom {
            return custom(request).ok_or(Nameless::Stranger);
        }
        let principal = self.issuers.id(request.subject()).ok_or(Nameless::Stranger)?;
        let kind = |kind: &str| self.kinds.get(kind).cloned().ok_or(Nameless::OutsideOfSchema);
        let resource = request.resource();
        Ok(Names {
            principal: EntityUid::from_type_name_and_id(kind(request.subject_kind())?, principal),
            action: self.actions.get(request.action()).cloned().ok_or(Nameless::OutsideOfSchema)?,
            resource: EntityUid::from_type_name_and_id(kind(resource.kind())?, EntityId::new(resource.id())),
        })
    }
}

impl fmt::Debug for Namer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namer").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}
