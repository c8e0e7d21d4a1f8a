//! Questions in AuthZEN's words.

use std::collections::BTreeMap;

use sekisho_core::{AccessRequest, EvaluationsSemantic, Failure};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Subjects;
use crate::remote::openfga;
use crate::remote::strict;

/// Is an access evaluation request (§6.1); without some of its parts, an item of several, or a search.
#[derive(Serialize)]
pub(super) struct Evaluation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<Action<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<Page<'a>>,
}

#[derive(Serialize)]
pub(super) struct Entity<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    /// Left out for what is searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) properties: Option<Box<RawValue>>,
}

#[derive(Serialize)]
pub(super) struct Action<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) properties: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct Page<'a> {
    pub(super) token: &'a str,
}

impl<'a> Evaluation<'a> {
    pub(super) fn of(request: &AccessRequest<'a>, subjects: &Subjects) -> Result<Self, Failure> {
        let resource = request.resource();
        if subjects.joins_names {
            openfga::check_names(request)?;
        }
        let resource =
            Entity { kind: resource.kind(), id: Some(resource.id()), properties: strict::raw_attributes(request)? };
        Ok(Self {
            subject: Some(subject(request, subjects)?),
            action: Some(Action { name: request.action(), properties: object(request.action_properties())? }),
            resource: Some(resource),
            context: object(request.context())?,
            page: None,
        })
    }
}

fn object(object: Option<&sekisho_core::json::JsonObject>) -> Result<Option<&RawValue>, Failure> {
    object.map(|object| serde_json::from_str(object.as_str()).map_err(|_| UNWRITABLE)).transpose()
}

pub(super) fn subject<'a>(request: &AccessRequest<'a>, subjects: &Subjects) -> Result<Entity<'a>, Failure> {
    let principal = request.subject();
    if subjects.knows_not(request) {
        return Err(strict::unwritable("the decision service knows no subjects of this issuer"));
    }
    let mut properties: BTreeMap<&str, Box<RawValue>> = BTreeMap::from([("iss", raw(principal.issuer())?)]);
    if !principal.roles().is_empty() {
        properties.insert(subjects.roles_property, raw(principal.roles())?);
    }
    let scopes: Vec<&str> = principal.scopes().collect();
    if !scopes.is_empty() {
        properties.insert("scopes", raw(&scopes)?);
    }
    if let Some(tenant) = principal.tenant() {
        properties.insert("tenant", raw(tenant)?);
    }
    for name in &subjects.claims {
        if let Some(value) = principal.claims().get(name) {
            let value = RawValue::from_string(value.as_json().to_owned()).map_err(|_| UNWRITABLE)?;
            properties.insert(name, value);
        }
    }
    Ok(Entity { kind: request.subject_kind(), id: Some(principal.subject()), properties: Some(raw(&properties)?) })
}

const UNWRITABLE: Failure = strict::unwritable("a question cannot be written as JSON");

fn raw(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, Failure> {
    to_raw_value(value).map_err(|_| UNWRITABLE)
}

/// Is an access evaluations request (§7.1).
#[derive(Serialize)]
pub(super) struct Evaluations<'a> {
    /// This and the next two, if all have it in common (§7.1.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    evaluations: Vec<Evaluation<'a>>,
    options: Options,
}

#[derive(Serialize)]
struct Options {
    evaluations_semantic: &'static str,
}

impl<'a> Evaluations<'a> {
    pub(super) fn of(
        requests: &[AccessRequest<'a>],
        semantic: EvaluationsSemantic,
        subjects: &Subjects,
    ) -> Result<Self, Failure> {
        let evaluations = requests.iter().map(|request| Evaluation::of(request, subjects));
        let mut evaluations = evaluations.collect::<Result<Vec<_>, _>>()?;
        // The resource is what differs; it stays with each, so that none is an empty object.
        let subject = take_common(&mut evaluations, |one| &mut one.subject)?;
        let action = take_common(&mut evaluations, |one| &mut one.action)?;
        let context = take_common(&mut evaluations, |one| &mut one.context)?;
        let evaluations_semantic = match semantic {
            EvaluationsSemantic::ExecuteAll => "execute_all",
            EvaluationsSemantic::DenyOnFirstDeny => "deny_on_first_deny",
            EvaluationsSemantic::PermitOnFirstPermit => "permit_on_first_permit",
        };
        Ok(Self { subject, action, context, evaluations, options: Options { evaluations_semantic } })
    }
}

/// Takes a part out of all items, if all have it and it is the same. A default would also hold for items without it.
fn take_common<'a, T: Serialize>(
    evaluations: &mut [Evaluation<'a>],
    part: impl for<'e> Fn(&'e mut Evaluation<'a>) -> &'e mut Option<T>,
) -> Result<Option<T>, Failure> {
    let mut first: Option<String> = None;
    for evaluation in &mut *evaluations {
        let Some(part) = part(evaluation) else { return Ok(None) };
        let text = serde_json::to_string(part).map_err(|_| UNWRITABLE)?;
        if first.get_or_insert_with(|| text.clone()) != &text {
            return Ok(None);
        }
    }
    Ok(evaluations.iter_mut().filter_map(|evaluation| part(evaluation).take()).last())
}
