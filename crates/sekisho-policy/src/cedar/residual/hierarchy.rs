use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use cedar_policy::pst::{self, Literal};
use cedar_policy::{Entities, EntityId, EntityTypeName, EntityUid};
use sekisho_core::{Failure, FailureKind};

use crate::filter::{Comparison, Expr, Operand, Value};

use super::super::{Inner, Shape};
use super::{OUTSIDE, Reader, all_of, any, is_resource};

/// Knows who is in what, as decisions about resources of one type would find it.
pub(super) struct Tree<'a> {
    inner: &'a Inner,
    kind: &'a EntityTypeName,
    principal: &'a EntityUid,
    /// What the principal is in, itself included.
    principal_in: Vec<EntityUid>,
    /// What the provider said is in an entity, by that and the type of what is in it.
    listed: HashMap<(EntityUid, EntityTypeName), Vec<EntityId>>,
    lacking: Vec<(EntityUid, EntityTypeName)>,
    ways: HashMap<(EntityTypeName, EntityTypeName), Way>,
}

/// Says who knows which entities of one type are in those of another.
#[derive(Clone, Copy)]
enum Way {
    /// None can be.
    Apart,
    /// The fixed entities do.
    Fixed,
    /// The provider does.
    Listed,
}

fn refused(why: &'static str) -> Failure {
    OUTSIDE.with_source(why)
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        kind: &'a EntityTypeName,
        principal: &'a EntityUid,
        entities: &Entities,
    ) -> Self {
        let ancestors = entities.ancestors(principal).into_iter().flatten();
        let principal_in = ancestors.chain([principal]).cloned().collect();
        Self { inner, kind, principal, principal_in, listed: HashMap::new(), lacking: Vec::new(), ways: HashMap::new() }
    }

    /// Refuses where the row of some resource says in what a known entity is: what is known of that one would be too little.
    pub(super) fn tells_all(&self, entities: &Entities) -> Result<(), Failure> {
        let parents = self.parents();
        // The principal's own row does not say what its issuer does.
        let is_settled = parents.iter().all(|(attribute, _)| self.inner.is_of_the_subject(attribute));
        let is_of_row = |uid: &EntityUid| uid.type_name() == self.kind && !(is_settled && uid == self.principal);
        // Nothing is concluded from other entities of the resource's own type.
        let mut others = entities.iter().map(cedar_policy::Entity::uid).filter(|uid| uid.type_name() != self.kind);
        let is_in_row = |uid: EntityUid| entities.ancestors(&uid).into_iter().flatten().any(is_of_row);
        if !parents.is_empty() && (self.principal_in.iter().any(is_of_row) || others.any(is_in_row)) {
            return Err(refused("in what a known entity is may depend on the resource"));
        }
        Ok(())
    }

    /// Demands of rows that their parents make no circle, with which there is no decision.
    pub(super) fn demands(&self) -> Result<Vec<Expr>, Failure> {
        let mut demands = Vec::new();
        for (attribute, shape) in self.parents() {
            let (parent, is_one) = match shape {
                Shape::Entity(parent) => (parent, true),
                Shape::Set(element) => (element.entity().ok_or(OUTSIDE)?, false),
                _ => return Err(OUTSIDE),
            };
            let leads_back = if parent == self.kind {
                !is_one || self.inner.fixed.has_parents(self.kind)
            } else {
                self.above(parent).contains(self.kind)
            };
            if leads_back {
                return Err(refused("parents of a resource may lead back to it, and no column tells"));
            }
            if parent == self.kind {
                demands.push(Expr::NamesAnother(attribute.into()));
            }
        }
        Ok(demands)
    }

    /// Lists the attributes that name parents of a resource.
    fn parents(&self) -> Vec<(&'a str, &'a Shape)> {
        let Some(declared) = self.inner.words.shapes.entities.get(self.kind) else { return Vec::new() };
        let own = self.inner.words.parents.iter().filter(|(kind, _)| kind == self.kind);
        own.filter_map(|(_, attribute)| Some((&**attribute, declared.attribute(attribute)?))).collect()
    }

    /// Lists the types in which an entity of this type may be, at any distance.
    fn above(&self, kind: &EntityTypeName) -> HashSet<&'a EntityTypeName> {
        let parents = |kind: &EntityTypeName| {
            self.inner.words.shapes.entities.get(kind).map(|shape| shape.parents.as_slice()).unwrap_or_default()
        };
        let mut queue: Vec<&EntityTypeName> = parents(kind).iter().collect();
        let mut found = HashSet::new();
        while let Some(next) = queue.pop() {
            if found.insert(next) {
                queue.extend(parents(next));
            }
        }
        found
    }

    /// Lists the entities of a type, none of them the resource itself, that are in `target`.
    fn members(&mut self, kind: &EntityTypeName, target: &EntityUid) -> Result<Vec<String>, Failure> {
        let way = self.way(kind, target.type_name())?;
        let mut found = BTreeSet::new();
        if kind == target.type_name() {
            found.insert(text(target.id()));
        }
        if matches!(way, Way::Apart) {
            return Ok(found.into_iter().collect());
        }
        // Her roles are in the request, where neither the provider nor the fixed entities see them: in what she is, so is
        // what is in her.
        let (principal, is_in) = (self.principal, self.principal_in.contains(target));
        let mut holders = vec![target];
        if is_in && principal != target && !matches!(self.way(kind, principal.type_name())?, Way::Apart) {
            holders.push(principal);
        }
        for holder in holders {
            if matches!(way, Way::Fixed) {
                found.extend(self.inner.fixed.members(kind, holder).iter().map(|uid| text(uid.id())));
                continue;
            }
            let key = (holder.clone(), kind.clone());
            match self.listed.get(&key) {
                Some(ids) => found.extend(ids.iter().map(text)),
                None => self.lacking.push(key),
            }
        }
        if principal.type_name() == kind && is_in {
            found.insert(text(principal.id()));
        }
        Ok(found.into_iter().collect())
    }

    /// Says who knows which entities of a type are in those of another. It is asked for each member of a set.
    fn way(&mut self, kind: &EntityTypeName, target: &EntityTypeName) -> Result<Way, Failure> {
        let key = (kind.clone(), target.clone());
        if let Some(way) = self.ways.get(&key) {
            return Ok(*way);
        }
        let above = self.above(kind);
        if kind != self.kind && above.contains(self.kind) {
            return Err(refused("what is in an entity may depend on the resource"));
        }
        let provider = self.inner.provider.as_deref();
        let provides = |kind: &EntityTypeName| provider.is_some_and(|provider| provider.provides(kind));
        // Nobody says in what an entity of this type is, but for the resource's row and the principal's roles.
        let is_known = provides(kind) || self.inner.fixed.has_parents(kind);
        let mut between = above.iter().copied().chain([kind]).filter(|kind| self.above(kind).contains(target));
        let way = if !above.contains(target) {
            Way::Apart
        } else if is_known && between.any(provides) {
            Way::Listed
        } else {
            Way::Fixed
        };
        self.ways.insert(key, way);
        Ok(way)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lacking.is_empty()
    }

    /// Asks the provider for the lists that were lacking.
    pub(super) async fn complete(&mut self, left: Duration) -> Result<(), Failure> {
        let Some(provider) = &self.inner.provider else { return Ok(()) };
        const TOO_MANY: Failure = Failure::new(FailureKind::Misconfigured, "a filter needs too many entities");
        let (mut asked_for, mut count, limit) = (0, 0, self.inner.limits.entities);
        let (listed, lacking) = (&mut self.listed, std::mem::take(&mut self.lacking));
        let asked = async {
            for key in lacking {
                if listed.contains_key(&key) {
                    continue;
                }
                asked_for += 1;
                if asked_for > limit {
                    return Err(TOO_MANY);
                }
                let ids = provider.descendants(&key.0, &key.1).await?;
                let ids = ids.ok_or_else(|| refused("the provider does not list what is in an entity"))?;
                count += ids.len();
                if count > limit {
                    return Err(TOO_MANY);
                }
                listed.insert(key, ids);
            }
            Ok(())
        };
        let too_late = |_| Failure::unavailable("the entities of a filter took too long to load");
        tokio::time::timeout(left, asked).await.map_err(too_late)?
    }
}

impl Reader<'_, '_> {
    pub(super) fn is_in(&mut self, left: &pst::Expr, right: &pst::Expr, wanted: bool) -> Result<Expr, Failure> {
        if let pst::Expr::Literal(Literal::EntityUID(uid)) = left {
            return self.has_principal(&entity(uid)?, right, wanted);
        }
        let one = std::slice::from_ref(right);
        let targets: Vec<&pst::Expr> = match right {
            pst::Expr::Set(elements) => elements.iter().map(|element| &**element).collect(),
            _ => one.iter().collect(),
        };
        let mut found = Vec::new();
        for target in targets {
            let pst::Expr::Literal(Literal::EntityUID(uid)) = target else {
                return Err(refused("`in` of what is not known"));
            };
            self.count(1)?;
            let target = entity(uid)?;
            found.push(if is_resource(left) {
                self.resource_is_in(&target, wanted)?
            } else {
                self.attribute_is_in(left, &target, wanted)?
            });
        }
        Ok(if wanted { any(found) } else { all_of(found) })
    }

    fn resource_is_in(&mut self, target: &EntityUid, wanted: bool) -> Result<Expr, Failure> {
        let mut found = Vec::new();
        if target.type_name() == self.kind {
            found.push(compare(Operand::Id, text(target.id()), wanted));
        }
        if self.tree.above(self.kind).contains(target.type_name()) {
            if self.is_own_kind {
                return Err(refused("the resource may be the principal, whose roles are parents"));
            }
            if self.inner.fixed.has_parents(self.kind) {
                return Err(refused("fixed entities say in what a resource is"));
            }
            let before = found.len();
            for (attribute, shape) in self.tree.parents() {
                let parent = match shape {
                    Shape::Set(element) => element.entity(),
                    shape => shape.entity(),
                };
                let parent = parent.ok_or(OUTSIDE)?;
                if parent != target.type_name() && !self.tree.above(parent).contains(target.type_name()) {
                    continue;
                }
                if !matches!(shape, Shape::Entity(_)) {
                    return Err(refused("the parents of a resource are a set"));
                }
                let name = self.in_row(attribute)?;
                let of = self.any_of(&Operand::Attribute(name.clone()), parent, target, wanted)?;
                // What lacks parents is in nothing, and that is no error.
                found.push(if wanted { of } else { any(vec![Expr::Lacks(name), of]) });
            }
            if found.len() == before {
                return Err(refused("no attribute is declared to name the parents of a resource"));
            }
        }
        Ok(if wanted { any(found) } else { all_of(found) })
    }

    fn attribute_is_in(&mut self, operand: &pst::Expr, target: &EntityUid, wanted: bool) -> Result<Expr, Failure> {
        let (name, kind) = self.entity_attribute(operand)?;
        // It may name the resource itself, which is in what its own row says.
        let is_resource_again = kind == *self.kind && self.tree.parents().iter().any(|(parent, _)| **parent != *name);
        if is_resource_again {
            return Err(refused("what is in an entity may depend on the resource"));
        }
        let of = self.any_of(&Operand::Attribute(name.clone()), &kind, target, wanted)?;
        Ok(if wanted { of } else { all_of(vec![Expr::Has(name), of]) })
    }

    /// Says when the principal is in the resource, or in what one of its attributes names.
    fn has_principal(&mut self, principal: &EntityUid, operand: &pst::Expr, wanted: bool) -> Result<Expr, Failure> {
        if principal != self.tree.principal {
            return Err(refused("`in` of an entity of which not all is known"));
        }
        if is_resource(operand) {
            return self.holds_principal(&Operand::Id, self.kind, wanted);
        }
        let (name, kind) = self.entity_attribute(operand)?;
        let of = self.holds_principal(&Operand::Attribute(name.clone()), &kind, wanted)?;
        Ok(if wanted { of } else { all_of(vec![Expr::Has(name), of]) })
    }

    fn holds_principal(&mut self, operand: &Operand, kind: &EntityTypeName, wanted: bool) -> Result<Expr, Failure> {
        let found = self.tree.principal_in.iter().filter(|uid| uid.type_name() == kind);
        let found: Vec<Expr> = found.map(|uid| compare(operand.clone(), text(uid.id()), wanted)).collect();
        self.count(found.len())?;
        Ok(if wanted { any(found) } else { all_of(found) })
    }

    fn any_of(
        &mut self,
        operand: &Operand,
        kind: &EntityTypeName,
        target: &EntityUid,
        wanted: bool,
    ) -> Result<Expr, Failure> {
        let members = self.tree.members(kind, target)?;
        self.count(members.len())?;
        let found = members.into_iter().map(|id| compare(operand.clone(), id, wanted)).collect();
        Ok(if wanted { any(found) } else { all_of(found) })
    }

    fn entity_attribute(&self, operand: &pst::Expr) -> Result<(Box<str>, EntityTypeName), Failure> {
        let pst::Expr::GetAttr { expr, attr } = operand else { return Err(OUTSIDE) };
        let declared = self.inner.words.shapes.entities.get(self.kind);
        let shape = declared.and_then(|declared| declared.attribute(attr)).filter(|_| is_resource(expr));
        let Some(Shape::Entity(kind)) = shape else { return Err(OUTSIDE) };
        Ok((self.in_row(attr)?, kind.clone()))
    }
}

fn compare(operand: Operand, id: String, wanted: bool) -> Expr {
    let comparison = if wanted { Comparison::Equal } else { Comparison::NotEqual };
    Expr::Compare(operand, comparison, Value::Text(id))
}

fn entity(uid: &pst::EntityUID) -> Result<EntityUid, Failure> {
    let kind: EntityTypeName = uid.ty.to_string().parse().map_err(|_| OUTSIDE)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(&uid.eid)))
}

fn text(id: &EntityId) -> String {
    AsRef::<str>::as_ref(id).to_owned()
}
