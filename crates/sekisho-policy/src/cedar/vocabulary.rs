use std::collections::HashMap;

use cedar_policy::{Entities, EntityTypeName, EntityUid, Schema};

use super::names::Namer;
use super::shape::{Member, Shapes};

/// Is what the schema and the builder say, by which a request is put into Cedar's words.
pub(super) struct Vocabulary {
    pub(super) schema: Schema,
    pub(super) shapes: Shapes,
    pub(super) actions: Actions,
    pub(super) namer: Namer,
    pub(super) claims: Vec<(Box<str>, Box<str>)>,
    /// The attributes of a type that name parents.
    pub(super) parents: Vec<(EntityTypeName, Box<str>)>,
    pub(super) role: Option<EntityTypeName>,
}

pub(super) type Actions = HashMap<EntityUid, ActionShape, foldhash::fast::RandomState>;

pub(super) struct ActionShape {
    /// The action and the groups that it is in.
    pub(super) entities: Entities,
    pub(super) is_in_groups: bool,
    pub(super) principals: Vec<EntityTypeName>,
    pub(super) resources: Vec<EntityTypeName>,
    pub(super) context: Vec<Member>,
}

impl ActionShape {
    /// Returns the action with its groups. One that is in no group has nothing that a policy could ask for, no attribute either:
    /// it need not be among the entities at all.
    pub(super) const fn groups(&self) -> Option<&Entities> {
        if self.is_in_groups { Some(&self.entities) } else { None }
    }
}
