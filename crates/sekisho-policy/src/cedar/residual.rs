mod hierarchy;

use std::time::Instant;

use cedar_policy::pst::{self, BinaryOp, Literal, PatternElem, UnaryOp, Var};
use cedar_policy::{Effect, PartialEntities, PartialEntityUid, PartialRequest, Policy};
use sekisho_core::{AccessRequest, Failure, FailureKind};

use crate::filter::{Comparison, Expr, Filter, Operand, Pattern, Value};

use super::entities::Loaded;
use super::{CedarPolicies, EntityTypeName, Inner, Question};

use self::hierarchy::Tree;

const OUTSIDE: Failure = Failure::new(FailureKind::Misconfigured, "a policy cannot be written as a filter");
const MAX_DEPTH: usize = 64;
const MAX_PARTS: usize = 4_000;

impl CedarPolicies {
    /// Says for which resources of the request's type [`decide`](sekisho_core::Authorize::decide) would permit, by partial
    /// evaluation; the resource's id and attributes are not looked at, so `Resource::new("order", "")` does.
    ///
    /// Conditions may say this of the resource, joined by `&&`, `||` and `!`, and nothing else:
    /// - `resource.a == x`, also `!=`, and for numbers `<`, `<=`, `>`, `>=`: an attribute (text, number, boolean, entity) and a value that
    ///   is known without the resource; `resource == x`; `[x, y].contains(resource.a)`; a boolean attribute by itself.
    /// - `resource has a`.
    /// - `resource.a like "x*"`.
    /// - `resource.a in x`, or in one of a set: an attribute that names an entity. What is in `x` is known of the fixed entities;
    ///   of what a provider provides, it has to list it ([`EntityProvider::descendants`](super::EntityProvider::descendants)).
    /// - `resource in x`, likewise, by the attributes that are declared to name the parents of resources
    ///   ([`CedarBuilder::with_parents_from`](super::CedarBuilder::with_parents_from)), each of them one entity.
    /// - `principal in resource`, `principal in resource.a`.
    ///
    /// An attribute that is missing is what it is for a decision: the permit does
    /// not count, and a forbid denies. Resources that lack an attribute which the schema requires, and of which a policy
    /// speaks, are left out, and those that are their own parent. Obligations are not part of a filter: policies that have
    /// some are refused here.
    ///
    /// What an [`EntityProvider`](super::EntityProvider) says of resources of this type must be what the rows say.
    ///
    /// # Errors
    /// [`Failure`], and never a wider filter,
    /// - when the request does not fit the schema, an entity cannot be loaded, or a policy says something else of the resource,
    /// - when a policy asks for an attribute or a parent that some resource has from elsewhere than its row: from the fixed
    ///   entities, or, where resources are of the principal's type, from the subject,
    /// - when rows name parents ([`CedarBuilder::with_parents_from`](super::CedarBuilder::with_parents_from)) and the principal,
    ///   or another entity that is known, is such a resource or in one: in what it is depends on the row then, unless it is the
    ///   principal, and a claim names its parents,
    /// - when a function names resources ([`CedarBuilder::with_names`](super::CedarBuilder::with_names)), which may say of each
    ///   what it likes,
    /// - when all policies together come to more than 4,000 parts: operators, members of sets, entities that are in one that is
    ///   named.
    pub async fn filter(&self, request: &AccessRequest<'_>) -> Result<Filter, Failure> {
        let (inner, start) = (self.inner(), Instant::now());
        if inner.words.namer.custom.is_some() {
            return Err(OUTSIDE.with_source("a function names resources, and may name each of them otherwise"));
        }
        // Whatever the caller has put there, attributes of one resource must not count for all.
        let Ok(question) = inner.question(&without_attributes(request))? else { return Ok(Filter::None) };
        let mut loaded = Loaded::default();
        let mut gathering = inner.gathering(&question);
        inner.load(&mut gathering, &mut loaded, start).await?;
        let Question { action, request: asked, principal, resource, .. } = question;
        let entities = gathering.finish(Some(&action.entities), principal, resource, &loaded, &inner.words.schema)?;
        let (who, what, whereto) = super::named(&asked)?;
        let kind = whereto.type_name();
        let mut tree = Tree::new(inner, kind, who, &entities);
        tree.tells_all(&entities)?;
        let selected = inner.index.select_for_any_resource(who, what, &entities);
        let Some(selection) = selected.map_err(|error| super::broken(&error))? else { return Ok(Filter::None) };
        let failed = |error: &dyn std::error::Error| OUTSIDE.with_source(error.to_string());
        // Partial evaluation takes for granted that what the schema requires is there.
        let mut all = inner.required(kind, &selection.set);
        all.extend(tree.demands()?);
        // The resource itself is not known, also if its id happens to be that of one that is.
        let known = entities.into_iter().filter(|entity| entity.uid().type_name() != kind);
        let known = cedar_policy::Entities::from_entities(known, None).map_err(|error| failed(&error))?;
        let known = PartialEntities::from_concrete(known, &inner.words.schema).map_err(|error| failed(&error))?;
        let partial = PartialRequest::new(
            PartialEntityUid::from_concrete(who.clone()),
            what.clone(),
            PartialEntityUid::new(kind.clone(), None),
            asked.context().cloned(),
            &inner.words.schema,
        );
        let partial = partial.map_err(|error| failed(&error))?;
        let policies: Vec<Policy> = {
            let response = selection.set.tpe(&partial, &known, &inner.words.schema).map_err(|error| failed(&error))?;
            response.policies().collect()
        };
        let is_own_kind = who.type_name() == kind;
        let mut written = inner.written(&policies, kind, is_own_kind, &mut tree)?;
        if !tree.is_complete() {
            tree.complete(inner.limits.time.saturating_sub(start.elapsed())).await?;
            written = inner.written(&policies, kind, is_own_kind, &mut tree)?;
        }
        all.extend(written);
        Ok(match all_of(all) {
            Expr::And(parts) if parts.is_empty() => Filter::All,
            Expr::Or(parts) if parts.is_empty() => Filter::None,
            expression => Filter::Where(expression),
        })
    }
}

fn without_attributes<'a>(request: &AccessRequest<'a>) -> AccessRequest<'a> {
    let resource = sekisho_core::Resource::new(request.resource().kind(), request.resource().id());
    let mut bare = AccessRequest::new(request.subject(), request.action(), resource, request.now())
        .with_subject_kind(request.subject_kind());
    if let Some(context) = request.context() {
        bare = bare.with_context(context);
    }
    if let Some(properties) = request.action_properties() {
        bare = bare.with_action_properties(properties);
    }
    bare
}

impl Inner {
    /// Writes that one permit is true and each forbid is false.
    fn written(
        &self,
        policies: &[Policy],
        kind: &EntityTypeName,
        is_own_kind: bool,
        tree: &mut Tree<'_>,
    ) -> Result<Vec<Expr>, Failure> {
        let (mut permits, mut forbids, mut parts) = (Vec::new(), Vec::new(), 0);
        for policy in policies {
            if self.policies.get(policy.id()).is_none_or(|known| !known.demands.obligations.is_empty()) {
                return Err(OUTSIDE);
            }
            let mut reader = Reader { inner: self, kind, is_own_kind, parts, tree };
            match policy.effect() {
                Effect::Permit => permits.push(reader.policy(policy, true)?),
                Effect::Forbid => forbids.push(reader.policy(policy, false)?),
            }
            parts = reader.parts;
        }
        forbids.push(any(permits));
        Ok(forbids)
    }

    /// Demands the attributes that the schema requires and that the text of a policy names.
    fn required(&self, kind: &EntityTypeName, set: &cedar_policy::PolicySet) -> Vec<Expr> {
        let Some(shape) = self.words.shapes.entities.get(kind) else { return Vec::new() };
        let texts: Vec<String> = set.policies().map(ToString::to_string).collect();
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        // A name that is written with escapes may not be found, and counts as named.
        let is_named = |name: &str| !is_plain(name) || texts.iter().any(|text| text.contains(name));
        let required = shape.attributes.iter().filter(|member| member.is_required && is_named(&member.name));
        required.map(|member| Expr::Has(member.name.clone())).collect()
    }
}

struct Reader<'a, 't> {
    inner: &'a Inner,
    kind: &'a EntityTypeName,
    /// The principal may be among the resources.
    is_own_kind: bool,
    /// How many parts have been read of all policies.
    parts: usize,
    tree: &'a mut Tree<'t>,
}

impl Reader<'_, '_> {
    /// Writes when a policy is true, or when it is false, in both cases without error.
    fn policy(&mut self, policy: &Policy, wanted: bool) -> Result<Expr, Failure> {
        let written = policy.to_pst().map_err(|error| OUTSIDE.with_source(error.to_string()))?;
        let mut parts = Vec::new();
        for clause in written.body().clauses() {
            parts.push(match clause {
                pst::Clause::When(condition) => self.read(condition, wanted, 0)?,
                pst::Clause::Unless(_) => return Err(OUTSIDE),
            });
        }
        // Partial evaluation leaves one condition.
        let only = parts.pop().filter(|_| parts.is_empty());
        only.ok_or(OUTSIDE)
    }

    /// Counts what is worked on, in all policies together: a claim may bring a long set to each of them.
    fn count(&mut self, parts: usize) -> Result<(), Failure> {
        self.parts += parts;
        if self.parts > MAX_PARTS {
            return Err(OUTSIDE.with_source("a filter has too many parts"));
        }
        Ok(())
    }

    fn read(&mut self, expression: &pst::Expr, wanted: bool, depth: usize) -> Result<Expr, Failure> {
        // What is settled without the resource is no part of the filter.
        match expression {
            pst::Expr::Literal(Literal::Bool(value)) => return Ok(constant(*value == wanted)),
            pst::Expr::ResidualError => return Ok(constant(false)),
            _ => self.count(1)?,
        }
        if depth > MAX_DEPTH {
            return Err(OUTSIDE);
        }
        match expression {
            pst::Expr::UnaryOp { op: UnaryOp::Not, expr } => self.read(expr, !wanted, depth + 1),
            pst::Expr::BinaryOp { op: BinaryOp::And, left, right } => self.junction(left, right, true, wanted, depth),
            pst::Expr::BinaryOp { op: BinaryOp::Or, left, right } => self.junction(left, right, false, wanted, depth),
            pst::Expr::HasAttr { expr, attrs } if is_resource(expr) && attrs.tail.is_empty() => {
                let name = self.in_row(&attrs.head)?;
                Ok(if wanted { Expr::Has(name) } else { Expr::Lacks(name) })
            }
            pst::Expr::Like { expr, pattern } => {
                let name = self.text_attribute(expr)?;
                let pattern = pieces(pattern);
                Ok(if wanted { Expr::Like(name, pattern) } else { Expr::Unlike(name, pattern) })
            }
            pst::Expr::BinaryOp { op: BinaryOp::In, left, right } => self.is_in(left, right, wanted),
            pst::Expr::GetAttr { .. } => self.compare(expression, Comparison::Equal, &Literal::Bool(true), wanted),
            pst::Expr::BinaryOp { op: BinaryOp::Contains, left, right } => {
                let pst::Expr::Set(elements) = &**left else { return Err(OUTSIDE) };
                let mut found = Vec::new();
                for element in elements {
                    let pst::Expr::Literal(literal) = &**element else { return Err(OUTSIDE) };
                    self.count(1)?;
                    found.push(self.compare(right, Comparison::Equal, literal, wanted)?);
                }
                if found.is_empty() {
                    return Err(OUTSIDE);
                }
                Ok(if wanted { any(found) } else { all_of(found) })
            }
            pst::Expr::BinaryOp { op, left, right } => {
                let comparison = match op {
                    BinaryOp::Eq => Comparison::Equal,
                    BinaryOp::NotEq => Comparison::NotEqual,
                    BinaryOp::Less => Comparison::Less,
                    BinaryOp::LessEq => Comparison::LessOrEqual,
                    BinaryOp::Greater => Comparison::Greater,
                    BinaryOp::GreaterEq => Comparison::GreaterOrEqual,
                    _ => return Err(OUTSIDE),
                };
                match (&**left, &**right) {
                    (operand, pst::Expr::Literal(literal)) => self.compare(operand, comparison, literal, wanted),
                    (pst::Expr::Literal(literal), operand) => {
                        self.compare(operand, mirrored(comparison), literal, wanted)
                    }
                    _ => Err(OUTSIDE),
                }
            }
            _ => Err(OUTSIDE),
        }
    }

    /// Cedar reads from left to right: what stands on the right counts only if the left is without error.
    fn junction(
        &mut self,
        left: &pst::Expr,
        right: &pst::Expr,
        is_and: bool,
        wanted: bool,
        depth: usize,
    ) -> Result<Expr, Failure> {
        if is_and == wanted {
            let both = vec![self.read(left, wanted, depth + 1)?, self.read(right, wanted, depth + 1)?];
            return Ok(all_of(both));
        }
        let settled = self.read(left, wanted, depth + 1)?;
        let not_settled = self.read(left, !wanted, depth + 1)?;
        let right = self.read(right, wanted, depth + 1)?;
        Ok(any(vec![settled, all_of(vec![not_settled, right])]))
    }

    fn compare(
        &self,
        operand: &pst::Expr,
        comparison: Comparison,
        literal: &Literal,
        wanted: bool,
    ) -> Result<Expr, Failure> {
        let comparison = if wanted { comparison } else { opposite(comparison) };
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let entity = |uid: &pst::EntityUID, kind: &EntityTypeName| {
            (uid.ty.to_string() == kind.to_string() && is_equality).then(|| Value::Text(uid.eid.to_string()))
        };
        if is_resource(operand) {
            let Literal::EntityUID(uid) = literal else { return Err(OUTSIDE) };
            return Ok(Expr::Compare(Operand::Id, comparison, entity(uid, self.kind).ok_or(OUTSIDE)?));
        }
        let pst::Expr::GetAttr { expr, attr } = operand else { return Err(OUTSIDE) };
        if !is_resource(expr) {
            return Err(OUTSIDE);
        }
        let shape = self.inner.words.shapes.entities.get(self.kind).and_then(|shape| shape.attribute(attr));
        let value = match (shape.ok_or(OUTSIDE)?, literal) {
            (super::Shape::Text, Literal::String(text)) if is_equality => Value::Text(text.to_string()),
            (super::Shape::Bool, Literal::Bool(flag)) if is_equality => Value::Bool(*flag),
            (super::Shape::Long, Literal::Long(number)) => Value::Integer(*number),
            (super::Shape::Entity(kind), Literal::EntityUID(uid)) => entity(uid, kind).ok_or(OUTSIDE)?,
            _ => return Err(OUTSIDE),
        };
        Ok(Expr::Compare(Operand::Attribute(self.in_row(attr)?), comparison, value))
    }

    fn text_attribute(&self, operand: &pst::Expr) -> Result<Box<str>, Failure> {
        let pst::Expr::GetAttr { expr, attr } = operand else { return Err(OUTSIDE) };
        let declared = self.inner.words.shapes.entities.get(self.kind);
        let shape = declared.and_then(|declared| declared.attribute(attr)).filter(|_| is_resource(expr));
        let Some(super::Shape::Text) = shape else { return Err(OUTSIDE) };
        self.in_row(attr)
    }

    /// Refuses attributes that a decision does not take from the row alone.
    fn in_row(&self, attribute: &str) -> Result<Box<str>, Failure> {
        let is_of_the_subject = self.is_own_kind && self.inner.is_of_the_subject(attribute);
        if is_of_the_subject || self.inner.fixed.says(self.kind, attribute) {
            return Err(OUTSIDE);
        }
        Ok(attribute.into())
    }
}

fn pieces(pattern: &[PatternElem]) -> Pattern {
    let mut pieces = vec![String::new()];
    for part in pattern {
        match (part, pieces.last_mut()) {
            (PatternElem::Char(character), Some(last)) => last.push(*character),
            _ => pieces.push(String::new()),
        }
    }
    Pattern::new(pieces)
}

fn is_resource(expression: &pst::Expr) -> bool {
    matches!(expression, pst::Expr::Var(Var::Resource))
}

const fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

const fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

fn constant(value: bool) -> Expr {
    if value { Expr::And(Vec::new()) } else { Expr::Or(Vec::new()) }
}

fn all_of(parts: Vec<Expr>) -> Expr {
    if parts.contains(&constant(false)) {
        return constant(false);
    }
    let mut parts: Vec<Expr> = parts.into_iter().filter(|part| *part != constant(true)).collect();
    if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) }
}

fn any(parts: Vec<Expr>) -> Expr {
    if parts.contains(&constant(true)) {
        return constant(true);
    }
    let mut parts: Vec<Expr> = parts.into_iter().filter(|part| *part != constant(false)).collect();
    if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) }
}
