use std::time::Duration;

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Decision, Denial, Failure, FailureKind, Obligation};

/// Makes a decision of what a policy came to, the same for Rego in process and for a remote OPA.
///
/// | result | decision |
/// |---|---|
/// | undefined (`None`) | not applicable |
/// | `true`, `false` | permit, deny |
/// | an object | `decision` or `allow`, one of the two and a boolean, says it; `reasons`: strings, at most 64 of 1 KiB; `obligations`: at most 32 of `{"id": "redact", "parameters": {}}`; `lifetime_s`: whole seconds, at most a day |
/// | anything else | a failure |
///
/// A member of another name is a failure too: a misspelt `obligations` must not vanish.
///
/// # Errors
/// [`FailureKind::BadGateway`] with an [`OutcomeError`] as its source.
pub(crate) fn decision(result: Option<JsonValue<'_>>) -> Result<Decision, Failure> {
    let Some(result) = result else { return Ok(Decision::not_applicable()) };
    if let Some(allowed) = result.as_bool() {
        return Ok(of(allowed));
    }
    from_object(result).map_err(failure)
}

/// Permits or denies, without a word more.
pub(crate) const fn of(allowed: bool) -> Decision {
    if allowed { Decision::permit() } else { Decision::deny(Denial::Forbidden { reason: "a policy denies" }) }
}

/// Says that a policy came to something that is no decision.
pub(crate) fn failure(error: OutcomeError) -> Failure {
    Failure::new(FailureKind::BadGateway, "a policy came to something that is no decision").with_source(error)
}

/// Says what is wrong with the result of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutcomeError {
    #[error("the result is neither a boolean nor an object")]
    Kind,
    #[error("the result has a member other than decision, allow, reasons, obligations and lifetime_s")]
    UnknownMember,
    #[error("the result has not exactly one of decision and allow, as a boolean")]
    Effect,
    #[error("reasons is no array of at most 64 strings of at most 1 KiB")]
    Reasons,
    #[error("obligations is no array of at most 32 objects of id, a string, and parameters, an object")]
    Obligations,
    #[error("lifetime_s is no whole number of at most 86400")]
    Lifetime,
}

fn from_object(result: JsonValue<'_>) -> Result<Decision, OutcomeError> {
    if result.kind() != JsonKind::Object {
        return Err(OutcomeError::Kind);
    }
    let object = parse(result).ok_or(OutcomeError::Kind)?;
    let (mut effect, mut reasons, mut obligations, mut lifetime) = (None, None, None, None);
    for (name, value) in object.iter() {
        match name {
            "decision" | "allow" if effect.is_some() => return Err(OutcomeError::Effect),
            "decision" | "allow" => effect = Some(value.as_bool().ok_or(OutcomeError::Effect)?),
            "reasons" => reasons = Some(value),
            "obligations" => obligations = Some(value),
            "lifetime_s" => lifetime = Some(seconds(value).ok_or(OutcomeError::Lifetime)?),
            _ => return Err(OutcomeError::UnknownMember),
        }
    }
    let mut decision = of(effect.ok_or(OutcomeError::Effect)?);
    if let Some(value) = reasons {
        for reason in array(value, MAX_REASONS).ok_or(OutcomeError::Reasons)? {
            let reason = reason.as_str().filter(|text| text.len() <= MAX_REASON_BYTES).ok_or(OutcomeError::Reasons)?;
            decision = decision.with_reason(reason.into_owned());
        }
    }
    if let Some(value) = obligations {
        for item in array(value, MAX_OBLIGATIONS).ok_or(OutcomeError::Obligations)? {
            decision = decision.with_obligation(obligation(item).ok_or(OutcomeError::Obligations)?);
        }
    }
    Ok(match lifetime {
        Some(lifetime) => decision.with_lifetime(lifetime),
        None => decision,
    })
}

fn obligation(item: JsonValue<'_>) -> Option<Obligation> {
    let item = parse(item)?;
    let known = item.iter().all(|(name, _)| matches!(name, "id" | "parameters"));
    let id = item.get("id")?.as_str().filter(|id| !id.is_empty() && id.len() <= MAX_REASON_BYTES)?;
    let obligation = Obligation::new(id.into_owned());
    match item.get("parameters") {
        _ if !known => None,
        None => Some(obligation),
        Some(parameters) => Some(obligation.with_parameters(parse(parameters)?)),
    }
}

fn parse(value: JsonValue<'_>) -> Option<JsonObject> {
    JsonObject::parse(value.as_json().as_bytes().to_vec()).ok()
}

fn array(value: JsonValue<'_>, max: usize) -> Option<Vec<JsonValue<'_>>> {
    if value.kind() != JsonKind::Array {
        return None;
    }
    let elements = value.elements();
    (elements.len() <= max).then_some(elements)
}

fn seconds(value: JsonValue<'_>) -> Option<Duration> {
    if value.kind() != JsonKind::Number {
        return None;
    }
    let seconds: u64 = value.as_json().parse().ok()?;
    (seconds <= MAX_LIFETIME_SECS).then(|| Duration::from_secs(seconds))
}

const MAX_REASONS: usize = 64;
const MAX_REASON_BYTES: usize = 1024;
const MAX_OBLIGATIONS: usize = 32;
const MAX_LIFETIME_SECS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use sekisho_core::Effect;

    use super::*;

    fn read(result: &str) -> Result<Decision, Failure> {
        let answer = JsonObject::parse(format!(r#"{{"result":{result}}}"#).into_bytes()).unwrap();
        decision(answer.get("result"))
    }

    #[test]
    fn undefined_is_not_applicable_and_never_a_permit() {
        assert_eq!(decision(None).unwrap().effect(), Effect::NotApplicable);
    }

    #[test]
    fn a_boolean_or_an_object_with_one_decides() {
        for (result, effect) in [
            ("true", Effect::Permit),
            ("false", Effect::Deny),
            (r#"{"decision":true}"#, Effect::Permit),
            (r#"{"allow":true}"#, Effect::Permit),
            (r#"{"allow":false,"reasons":[],"obligations":[]}"#, Effect::Deny),
        ] {
            assert_eq!(read(result).unwrap().effect(), effect, "{result}");
        }
    }

    #[test]
    fn reasons_obligations_and_lifetime_come_along() {
        let decision = read(
            r#"{"decision":true,"reasons":["ro\u006ce"],"lifetime_s":5,
                "obligations":[{"id":"redact","parameters":{"fields":["iban"]}},{"id":"audit"}]}"#,
        )
        .unwrap();
        assert_eq!(decision.reasons(), ["role"]);
        assert_eq!(decision.lifetime(), Some(Duration::from_secs(5)));
        let [redact, audit] = decision.obligations() else { panic!("two obligations") };
        assert_eq!(redact.parameters().unwrap().get("fields").unwrap().as_json(), r#"["iban"]"#);
        assert_eq!((audit.id(), audit.parameters().is_none()), ("audit", true));
    }

    #[test]
    fn whatever_else_is_a_failure() {
        for result in [
            "null",
            r#""true""#,
            "1",
            "[]",
            "[true]",
            "{}",
            r#"{"decision":"true"}"#,
            r#"{"decision":1}"#,
            r#"{"decision":null}"#,
            r#"{"allow":true,"decision":true}"#,
            r#"{"allow":true,"decision":false}"#,
            r#"{"decision":true,"allow":null}"#,
            r#"{"Decision":true}"#,
            r#"{"decision":true,"obligation":[]}"#,
            r#"{"decision":true,"reasons":"role"}"#,
            r#"{"decision":true,"reasons":[1]}"#,
            r#"{"decision":true,"reasons":null}"#,
            r#"{"decision":true,"obligations":{}}"#,
            r#"{"decision":true,"obligations":["redact"]}"#,
            r#"{"decision":true,"obligations":[{}]}"#,
            r#"{"decision":true,"obligations":[{"id":""}]}"#,
            r#"{"decision":true,"obligations":[{"id":1}]}"#,
            r#"{"decision":true,"obligations":[{"id":"a","parameters":[]}]}"#,
            r#"{"decision":true,"obligations":[{"id":"a","parameter":{}}]}"#,
            r#"{"decision":true,"lifetime_s":-1}"#,
            r#"{"decision":true,"lifetime_s":1.5}"#,
            r#"{"decision":true,"lifetime_s":"5"}"#,
            r#"{"decision":true,"lifetime_s":86401}"#,
        ] {
            let failure = read(result).expect_err(result);
            assert_eq!(failure.kind(), FailureKind::BadGateway, "{result}");
        }
    }

    #[test]
    fn more_reasons_or_obligations_than_anybody_reads_are_a_failure() {
        let reasons = |count: usize, length: usize| {
            let items = vec![format!("\"{}\"", "r".repeat(length)); count].join(",");
            read(&format!(r#"{{"allow":true,"reasons":[{items}]}}"#)).is_ok()
        };
        assert!(reasons(64, 1024));
        assert!(!reasons(65, 1));
        assert!(!reasons(1, 1025));
        let obligations = |count: usize| {
            let items = vec![r#"{"id":"a"}"#; count].join(",");
            read(&format!(r#"{{"allow":true,"obligations":[{items}]}}"#)).is_ok()
        };
        assert!(obligations(32));
        assert!(!obligations(33));
    }
}
