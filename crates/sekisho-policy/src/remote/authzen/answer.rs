//! What is read out of AuthZEN's answers.

use std::borrow::Cow;
use std::time::Duration;

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Decision, DecisionSource, Denial, EvaluationsSemantic, Failure, Obligation, Reason};
use serde_json::json;

use crate::remote::strict::malformed;

/// Bounds the obligations of one decision; one with more is a denial.
const MAX_OBLIGATIONS: usize = 32;
/// Bounds the reasons that are kept of one decision.
const MAX_REASONS: usize = 16;
/// Bounds each text that is kept, in bytes.
const MAX_TEXT: usize = 256;

/// Reads a decision (§5.5): `decision` is `true` or `false`, nothing that could pass for it.
pub(super) fn decision(
    decision: Option<JsonValue<'_>>,
    context: Option<JsonValue<'_>>,
    id: Option<&str>,
) -> Result<Decision, Failure> {
    let permits = decision.and_then(JsonValue::as_bool).ok_or(malformed("an answer holds no decision"))?;
    let context = context.filter(|context| context.kind() != JsonKind::Null);
    if permits && context.is_some_and(|context| context.kind() != JsonKind::Object) {
        // There could be conditions in it.
        return Err(malformed("the context of a decision is no object"));
    }
    let member = |name| context.and_then(|context| context.member(name));
    let obligations = obligations(member("obligations"));
    let step_up = StepUp::read(member("acr_values"), member("amr_values"), member("max_age"));
    let mut decision = match (permits, &obligations) {
        // Obligations profile, §4.4: who cannot comply denies.
        (true, None) => Decision::refuse(Denial::Forbidden { reason: "an obligation of the decision cannot be read" }),
        (true, Some(_)) => match step_up.as_obligation() {
            Ok(None) => Decision::permit(),
            Ok(Some(obligation)) => Decision::permit().with_obligation(obligation),
            Err(denial) => Decision::refuse(denial),
        },
        (false, _) => Decision::deny(denial(step_up, member("required_scope"))),
    };
    for obligation in obligations.unwrap_or_default() {
        decision = decision.with_obligation(obligation);
    }
    for reason in reasons(context) {
        decision = decision.with_reason(reason);
    }
    if let Some(id) = id {
        decision = decision.with_id(id);
    }
    if let Some(revision) = member("policy_revision").and_then(JsonValue::as_str).filter(|text| is_plain(text)) {
        decision = decision.with_revision(revision.into_owned());
    }
    if let Some(seconds) = member("valid_for").and_then(|value| value.deserialize::<u64>().ok()) {
        decision = decision.with_lifetime(Duration::from_secs(seconds));
    }
    Ok(decision.with_source(DecisionSource::Remote))
}

/// Reads the decisions of several evaluations (§7.2). Their only order is that of the questions, so an answer that is not
/// as long as it must be decides none of them.
pub(super) fn decisions(
    answer: &JsonObject,
    count: usize,
    semantic: EvaluationsSemantic,
    id: Option<&str>,
) -> Result<Vec<Result<Decision, Failure>>, Failure> {
    let items = answer.get("evaluations").filter(|items| items.kind() == JsonKind::Array);
    let items = items.ok_or(malformed("an answer to several questions holds no evaluations"))?.elements();
    let mut decisions = Vec::with_capacity(items.len().min(count));
    let is_whole = items.len() == count;
    for (index, item) in items.iter().enumerate().take(count) {
        let id = id.map(|id| format!("{id}/{index}"));
        // One that cannot be read may be a sign that the others belong to other questions.
        let decision = Ok(decision(item.member("decision"), item.member("context"), id.as_deref())?);
        let ends = semantic.ends_with(&decision);
        decisions.push(decision);
        if ends {
            // A service may have gone on; then it must have gone on to the end.
            let is_last = index + 1 == items.len();
            return if is_last || is_whole { Ok(decisions) } else { Err(WRONG_NUMBER) };
        }
    }
    if is_whole { Ok(decisions) } else { Err(WRONG_NUMBER) }
}

const WRONG_NUMBER: Failure = malformed("an answer has another number of decisions than there were questions");

/// Tells whether what an answer says of subject, action and resource is what was asked, item by item. Hardly any service
/// says it; one that does must not be taken for answering in another order.
pub(super) fn speaks_of(answer: &JsonObject, question: &[u8]) -> bool {
    const PARTS: [&str; 3] = ["subject", "action", "resource"];
    let items = answer.get("evaluations").map(JsonValue::elements).unwrap_or_default();
    let says = |item: &JsonValue<'_>| PARTS.iter().any(|part| item.member(part).is_some());
    if !items.iter().any(says) {
        return true;
    }
    let Ok(question) = JsonObject::parse(question.to_vec()) else { return false };
    let asked = question.get("evaluations").map(JsonValue::elements).unwrap_or_default();
    items.iter().enumerate().all(|(index, item)| {
        PARTS.iter().all(|&part| {
            let Some(said) = item.member(part) else { return true };
            let asked = asked.get(index).and_then(|asked| asked.member(part)).or_else(|| question.get(part));
            asked.is_some_and(|asked| is_same_entity(said, asked))
        })
    })
}

fn is_same_entity(said: JsonValue<'_>, asked: JsonValue<'_>) -> bool {
    ["type", "id", "name"].iter().all(|name| {
        let text = |value: JsonValue<'_>| value.member(name).and_then(|value| value.as_str().map(Cow::into_owned));
        said.member(name).is_none() || text(said) == text(asked)
    })
}

/// Reads obligations as of the AuthZEN Obligations Profile; `None` when one of them cannot be read, and who cannot read all
/// cannot comply.
fn obligations(value: Option<JsonValue<'_>>) -> Option<Vec<Obligation>> {
    let Some(value) = value.filter(|value| value.kind() != JsonKind::Null) else { return Some(Vec::new()) };
    if value.kind() != JsonKind::Array {
        return None;
    }
    let items = value.elements();
    if items.len() > MAX_OBLIGATIONS {
        return None;
    }
    items.into_iter().map(obligation).collect()
}

fn obligation(item: JsonValue<'_>) -> Option<Obligation> {
    let kind = item.member("type")?.as_str().filter(|kind| is_plain(kind))?;
    let Some(properties) = item.member("properties") else { return Some(Obligation::new(kind.into_owned())) };
    let parameters = JsonObject::parse(properties.as_json().as_bytes().to_vec()).ok()?;
    // `Enforcer` checks the context class, not the methods. An obligation that asks for more than that keeps its own name,
    // by which it needs a handler of the application's.
    let is_known = kind == "step-up" && parameters.len() == 1;
    if let Some(acr) = parameters.get("acr_value").and_then(JsonValue::as_str).filter(|_| is_known) {
        let parameters = JsonObject::from_serialize(&json!({ "acr_values": [acr] })).ok()?;
        return Some(Obligation::new(Obligation::STEP_UP).with_parameters(parameters));
    }
    Some(Obligation::new(kind.into_owned()).with_parameters(parameters))
}

/// Is what an answer's context says of a stronger or newer login.
enum StepUp {
    /// Nothing.
    None,
    /// Something that cannot be read, or that [`Obligation::STEP_UP`] has no words for.
    Unclear,
    /// At least one of the two, and perhaps methods beside them, which are then a condition that nobody here checks.
    Wanted { acr_values: Option<Vec<String>>, max_age: Option<u64>, has_methods: bool },
}

impl StepUp {
    fn read(
        acr_values: Option<JsonValue<'_>>,
        amr_values: Option<JsonValue<'_>>,
        max_age: Option<JsonValue<'_>>,
    ) -> Self {
        let acr_values = match acr_values.map(words) {
            None => None,
            Some(Some(values)) => Some(values),
            Some(None) => return Self::Unclear,
        };
        let max_age = match max_age.map(|age| age.deserialize::<u64>()) {
            None => None,
            Some(Ok(age)) => Some(age),
            Some(Err(_)) => return Self::Unclear,
        };
        match (&acr_values, max_age, amr_values) {
            (None, None, None) => Self::None,
            (None, None, Some(_)) => Self::Unclear,
            _ => Self::Wanted { acr_values, max_age, has_methods: amr_values.is_some() },
        }
    }

    /// Makes a condition of what stands beside a permit; the standard leaves open whether it is one.
    fn as_obligation(&self) -> Result<Option<Obligation>, Denial> {
        const UNCLEAR: Denial = Denial::Forbidden { reason: "a permit asks for a login in words that cannot be read" };
        let Self::Wanted { acr_values, max_age, has_methods: false } = self else {
            return if matches!(self, Self::None) { Ok(None) } else { Err(UNCLEAR) };
        };
        let mut parameters = serde_json::Map::new();
        parameters.extend(acr_values.as_ref().map(|values| ("acr_values".to_owned(), json!(values))));
        parameters.extend(max_age.map(|age| ("max_age".to_owned(), json!(age))));
        let parameters = JsonObject::from_serialize(&parameters).map_err(|_| UNCLEAR)?;
        Ok(Some(Obligation::new(Obligation::STEP_UP).with_parameters(parameters)))
    }
}

fn denial(step_up: StepUp, scope: Option<JsonValue<'_>>) -> Denial {
    if let StepUp::Wanted { acr_values, max_age, has_methods: _ } = step_up {
        let acr_values = acr_values.map(|values| values.join(" ").into());
        return Denial::InsufficientAuthentication { acr_values, max_age: max_age.map(Duration::from_secs) };
    }
    match scope.and_then(words) {
        Some(scopes) => Denial::InsufficientScope { scope: scopes.join(" ").into() },
        None => Denial::Forbidden { reason: "the decision service denies it" },
    }
}

/// Reads words that may stand in a challenge: a string with spaces between them, or an array of strings.
fn words(value: JsonValue<'_>) -> Option<Vec<String>> {
    let texts = value.as_strings()?;
    let words: Vec<String> = texts.iter().flat_map(|text| text.split(' ')).map(str::to_owned).collect();
    let is_word =
        |word: &String| !word.is_empty() && word.bytes().all(|b| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~'));
    (!words.is_empty() && words.iter().all(is_word) && words.iter().map(String::len).sum::<usize>() <= MAX_TEXT)
        .then_some(words)
}

/// Collects what an audit log should hold: `reasons`, `reason`, and the members of `reason_admin` (§5.5.1). What is meant
/// for users is not kept.
fn reasons(context: Option<JsonValue<'_>>) -> Vec<Reason> {
    let Some(context) = context else { return Vec::new() };
    let mut reasons = Vec::new();
    for name in ["reasons", "reason", "reason_admin"] {
        let Some(value) = context.member(name) else { continue };
        match value.kind() {
            JsonKind::Object => {
                let object = JsonObject::parse(value.as_json().as_bytes().to_vec());
                reasons.extend(object.iter().flat_map(JsonObject::iter).filter_map(|(_, value)| reason(value)));
            }
            JsonKind::Array => reasons.extend(value.elements().into_iter().filter_map(reason)),
            _ => reasons.extend(reason(value)),
        }
    }
    reasons.truncate(MAX_REASONS);
    reasons
}

fn reason(value: JsonValue<'_>) -> Option<Reason> {
    let with_revision = value.member("policy").and_then(JsonValue::as_str);
    let revision = value.member("revision").and_then(JsonValue::as_str);
    let reason = Reason::new(shortened(&with_revision.or_else(|| value.as_str())?));
    Some(match revision {
        Some(revision) => reason.with_revision(shortened(&revision)),
        None => reason,
    })
}

/// Cuts a text for a log, and takes control characters out of it.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars() {
        if short.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        short.push(if c.is_control() { ' ' } else { c });
    }
    short
}

/// Tells whether a text can be a name in logs and headers.
pub(super) fn is_plain(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}
