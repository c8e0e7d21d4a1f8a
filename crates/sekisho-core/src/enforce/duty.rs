//! How the obligations are fulfilled that the family itself has named.

use std::sync::Arc;
use std::time::Duration;

use crate::json::{JsonKind, JsonObject, JsonValue};
use crate::requirement::is_fresh;
use crate::{AccessRequest, Denial, Obligation};

use super::{ObligationHandler, redact};

/// Says who fulfils obligations of one name.
#[derive(Clone)]
pub(super) enum Duty {
    StepUp,
    Log,
    Handled(Arc<dyn ObligationHandler>),
    PassedOn,
}

impl Duty {
    /// Fulfils an obligation, or returns the handler that has to.
    pub(super) fn fulfil_now(
        &self,
        obligation: &Obligation,
        request: &AccessRequest<'_>,
    ) -> Result<Result<(), Denial>, &dyn ObligationHandler> {
        Ok(match self {
            Self::StepUp => step_up(obligation, request),
            Self::Log => log(obligation, request),
            // Whoever is left to redact must know what.
            Self::PassedOn if obligation.id() == Obligation::REDACT => {
                redact::paths(obligation).map(drop).ok_or(unreadable("an obligation to redact cannot be read"))
            }
            Self::PassedOn => Ok(()),
            Self::Handled(handler) => return Err(&**handler),
        })
    }
}

/// Demands what the obligation names. One that cannot be read, or that names more than is looked at here, demands what nobody
/// has.
fn step_up(obligation: &Obligation, request: &AccessRequest<'_>) -> Result<(), Denial> {
    const MALFORMED: Denial = unreadable("an obligation to step up cannot be read");
    let [acr_values, max_age] = members(obligation, ["acr_values", "max_age"]).ok_or(MALFORMED)?;
    let acr_values = match acr_values {
        None => None,
        Some(values) => {
            let list = Some(values).filter(|values| values.kind() == JsonKind::Array).and_then(JsonValue::as_strings);
            Some(list.filter(|values| !values.is_empty()).ok_or(MALFORMED)?)
        }
    };
    let max_age = match max_age {
        None => None,
        Some(age) => Some(Duration::from_secs(age.deserialize::<u64>().map_err(|_| MALFORMED)?)),
    };
    if acr_values.is_none() && max_age.is_none() {
        return Err(MALFORMED);
    }
    let held = request.subject().authentication_context();
    let has_context = acr_values.as_ref().is_none_or(|values| held.is_some_and(|held| values.contains(&held)));
    let is_recent = max_age.is_none_or(|age| is_fresh(request.subject(), age, request.now()));
    if has_context && is_recent {
        return Ok(());
    }
    Err(Denial::step_up(acr_values.map(|values| values.join(" ").into()), max_age))
}

/// Writes the line that the obligation asks for. Of the request stands in it who asks for what, and nothing of attributes,
/// context or claims.
fn log(obligation: &Obligation, request: &AccessRequest<'_>) -> Result<(), Denial> {
    const MALFORMED: Denial = unreadable("an obligation to log cannot be read");
    let [message] = members(obligation, ["message"]).ok_or(MALFORMED)?;
    let message = message.and_then(JsonValue::as_str).filter(|message| !message.is_empty()).ok_or(MALFORMED)?;
    tracing::info!(
        target: "sekisho",
        obligation = Obligation::LOG,
        subject = shown(request.subject().subject()),
        issuer = shown(request.subject().issuer()),
        action = shown(request.action()),
        resource_kind = shown(request.resource().kind()),
        resource_id = shown(request.resource().id()),
        demanded = shown(&message),
        "a policy demands this line"
    );
    Ok(())
}

/// Returns the parameters of these names; `None` if there are others beside them, which nobody would look at.
pub(super) fn members<'o, const N: usize>(
    obligation: &'o Obligation,
    names: [&str; N],
) -> Option<[Option<JsonValue<'o>>; N]> {
    let parameters = obligation.parameters();
    if !parameters.into_iter().flat_map(JsonObject::iter).all(|(name, _)| names.iter().any(|one| **one == *name)) {
        return None;
    }
    Some(names.map(|name| parameters.and_then(|parameters| parameters.get(name))))
}

const fn unreadable(reason: &'static str) -> Denial {
    Denial::Forbidden { reason }
}

/// Writes a text for one line of a log, up to a length. It is logged as a string, which stands in quotation marks wherever it
/// could be read as more than one field.
fn shown(text: &str) -> String {
    const LONGEST: usize = 1024;
    let is_outside = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let mut shown = String::new();
    for part in text.split_inclusive(is_outside) {
        let word = part.trim_end_matches(is_outside);
        let mut rest = part;
        if is_token(word) {
            shown.push_str(&format!("(masked {})", word.len()));
            rest = part.get(word.len()..).unwrap_or_default();
        }
        for c in rest.chars() {
            if shown.len() >= LONGEST {
                shown.push('…');
                return shown;
            }
            // Quotation marks are escaped by whoever writes the string.
            if matches!(c, '"' | '\'') { shown.push(c) } else { shown.extend(c.escape_debug()) }
        }
    }
    shown
}

/// Tells whether a word looks like a JWS or JWE: a JSON object in base64url with at least two more parts behind it.
fn is_token(word: &str) -> bool {
    let (header, rest) = word.split_once('.').unwrap_or((word, ""));
    // `{` and a quotation mark, a space, a line feed, a tab or a carriage return.
    let is_begin = |bytes: &[u8]| matches!(bytes, [b'e', b'y', b'A'..=b'D' | b'I'..=b'L'] | [b'e', b'w', b'k'..=b'r' | b'0'..=b'3']);
    let begin = header.as_bytes().windows(3).position(is_begin);
    rest.contains('.') && begin.is_some_and(|at| header.len() - at >= 12)
}
