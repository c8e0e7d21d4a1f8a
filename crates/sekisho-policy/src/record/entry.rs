use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use sekisho_core::json::{JsonKind, JsonValue};
use sekisho_core::{AccessRequest, Attribute, Decision, Denial, Failure};
use serde_json::{Map, Value};

use super::secrets;

/// Bounds a text, in bytes; what is longer is cut.
const LONGEST_TEXT: usize = 256;
/// Bounds the reasons, obligations, and elements of an array.
const MOST: usize = 16;
/// Bounds the names on one allow-list.
const MOST_NAMES: usize = 32;
/// Bounds what stands in an event of what was named, in bytes.
const LONGEST_NAMED: usize = 8 << 10;

/// Is what is recorded of one decision. All texts are cut after 256 bytes, lists after 16. In an id `(masked 42)` stands in the
/// place of a secret of 42 bytes; another text in which one shows is `(masked)`.
#[derive(Clone, Debug)]
pub struct DecisionRecord {
    pub(super) decision_id: Box<str>,
    pub(super) at: SystemTime,
    pub(super) latency: Duration,
    pub(super) issuer: Box<str>,
    pub(super) subject: Box<str>,
    pub(super) subject_kind: Box<str>,
    pub(super) client: Option<Box<str>>,
    pub(super) token_id: Option<Box<str>>,
    pub(super) action: Box<str>,
    pub(super) resource_kind: Box<str>,
    pub(super) resource_id: Box<str>,
    pub(super) context: Map<String, Value>,
    pub(super) attributes: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    pub(super) outcome: RecordedOutcome,
    pub(super) candidate: Option<Box<RecordedOutcome>>,
}

/// Is what somebody said, as far as it is recorded.
#[derive(Clone, Debug)]
pub struct RecordedOutcome {
    effect: &'static str,
    source: &'static str,
    revision: Option<Box<str>>,
    reasons: Vec<Box<str>>,
    obligations: Vec<Box<str>>,
    lacking: Option<&'static str>,
    failure: Option<Box<str>>,
}

/// Says which members of context, attributes and claims are recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) context: Vec<Box<str>>,
    pub(crate) attributes: Vec<Box<str>>,
    pub(crate) claims: Vec<Box<str>>,
}

impl Allowed {
    /// Adds names to one of the lists, up to its bound.
    pub(crate) fn add<I: IntoIterator<Item = S>, S: Into<Box<str>>>(list: &mut Vec<Box<str>>, names: I) {
        let room = MOST_NAMES.saturating_sub(list.len());
        list.extend(names.into_iter().take(room).map(Into::into));
    }
}

impl DecisionRecord {
    pub(crate) fn new(
        request: &AccessRequest<'_>,
        outcome: &Result<Decision, Failure>,
        decision_id: &str,
        latency: Duration,
        allowed: &Allowed,
    ) -> Self {
        let (subject, resource) = (request.subject(), request.resource());
        let attribute = |name: &str| Some(attribute_value(&resource.attributes()?.attribute(name)?));
        Self {
            decision_id: id(decision_id),
            at: SystemTime::now(),
            latency,
            issuer: id(subject.issuer()),
            subject: id(subject.subject()),
            subject_kind: id(request.subject_kind()),
            client: subject.client().map(id),
            token_id: subject.token_id().map(|token| id(&token)),
            action: id(request.action()),
            resource_kind: id(resource.kind()),
            resource_id: id(resource.id()),
            context: named(&allowed.context, |name| Some(json_value(request.context()?.get(name)?))),
            attributes: named(&allowed.attributes, attribute),
            claims: named(&allowed.claims, |name| Some(json_value(subject.claims().get(name)?))),
            outcome: RecordedOutcome::of(outcome),
            candidate: None,
        }
    }

    /// Adds what a candidate said, which decided nothing.
    pub(crate) fn with_candidate(mut self, candidate: &Result<Decision, Failure>) -> Self {
        self.candidate = Some(Box::new(RecordedOutcome::of(candidate)));
        self
    }

    /// Returns the id of the decision.
    #[must_use]
    pub fn decision_id(&self) -> &str {
        &self.decision_id
    }

    /// Returns when it was recorded.
    #[must_use]
    pub const fn at(&self) -> SystemTime {
        self.at
    }

    /// Returns how long the decision took.
    #[must_use]
    pub const fn latency(&self) -> Duration {
        self.latency
    }

    /// Returns the issuer of the subject.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns who asked.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the type of who asked.
    #[must_use]
    pub fn subject_kind(&self) -> &str {
        &self.subject_kind
    }

    /// Returns the client that obtained the credential.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Returns the credential's own id (`jti`).
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns what was to be done.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Returns the type of the resource.
    #[must_use]
    pub fn resource_kind(&self) -> &str {
        &self.resource_kind
    }

    /// Returns the id of the resource.
    #[must_use]
    pub fn resource_id(&self) -> &str {
        &self.resource_id
    }

    /// Returns what was said.
    #[must_use]
    pub const fn outcome(&self) -> &RecordedOutcome {
        &self.outcome
    }

    /// Returns what a candidate said that decided nothing, if the record is of a difference; see
    /// [`shadow`](crate::combine::shadow).
    #[must_use]
    pub fn candidate(&self) -> Option<&RecordedOutcome> {
        self.candidate.as_deref()
    }

    /// Writes it as a line of OPA's decision log, less than 64 KiB and without a line feed: see
    /// [`DecisionLog`](super::DecisionLog).
    #[must_use]
    pub fn to_opa_json(&self) -> String {
        super::opa::line(self, &Map::new())
    }

    /// Writes what was named of context, attributes and claims, unless it is too long for an event.
    pub(super) fn named_json(&self) -> String {
        let mut all = Map::new();
        for (name, members) in [("context", &self.context), ("attributes", &self.attributes), ("claims", &self.claims)]
        {
            if !members.is_empty() {
                all.insert(name.to_owned(), Value::Object(members.clone()));
            }
        }
        let json = if all.is_empty() { String::new() } else { Value::Object(all).to_string() };
        // Whoever writes events cuts long ones, or drops them, and this is the part that grows with the question.
        if json.len() > LONGEST_NAMED { LEFT_OUT.into() } else { json }
    }
}

impl RecordedOutcome {
    fn of(outcome: &Result<Decision, Failure>) -> Self {
        match outcome {
            Err(failure) => Self {
                effect: "error",
                source: "none",
                revision: None,
                reasons: Vec::new(),
                obligations: Vec::new(),
                lacking: None,
                failure: Some(cut(&failure.to_string())),
            },
            Ok(decision) => Self {
                effect: decision.effect().as_str(),
                source: decision.source().as_str(),
                revision: decision.revision().map(cut),
                reasons: decision.reasons().iter().take(MOST).map(|reason| cut(&reason.to_string())).collect(),
                obligations: decision.obligations().iter().take(MOST).map(|one| cut(one.id())).collect(),
                lacking: decision.denial().map(|denial| match denial {
                    Denial::InsufficientScope { .. } => "scope",
                    Denial::InsufficientAuthentication { .. } => "authentication",
                    Denial::InvalidToken => "credential",
                    Denial::Forbidden { reason } => reason,
                    _ => "something else",
                }),
                failure: None,
            },
        }
    }

    /// Returns `permit`, `deny`, `not_applicable` or `error`.
    #[must_use]
    pub const fn effect(&self) -> &'static str {
        self.effect
    }

    /// Returns where it was made: `local`, `remote`, `cache`, `fallback`; `none` for an error.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        self.source
    }

    /// Returns the revision of the policies.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Returns the reasons.
    #[must_use]
    pub fn reasons(&self) -> &[Box<str>] {
        &self.reasons
    }

    /// Returns the names of the obligations.
    #[must_use]
    pub fn obligations(&self) -> &[Box<str>] {
        &self.obligations
    }

    /// Returns what is lacking, if it was denied: `scope`, `authentication`, `credential`, or a sentence.
    #[must_use]
    pub const fn lacking(&self) -> Option<&'static str> {
        self.lacking
    }

    /// Returns what failed, if no decision could be had.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

fn named(names: &[Box<str>], value: impl Fn(&str) -> Option<Value>) -> Map<String, Value> {
    names.iter().filter_map(|name| Some((name.to_string(), value(name)?))).collect()
}

fn attribute_value(attribute: &Attribute<'_>) -> Value {
    match attribute {
        Attribute::Text(text) => text_value(text),
        Attribute::Integer(number) => Value::from(*number),
        Attribute::Bool(flag) => Value::from(*flag),
        Attribute::Json(value) => json_value(*value),
        _ => Value::from(LEFT_OUT),
    }
}

/// Stands for what is too much for a record.
const LEFT_OUT: &str = "(left out)";

/// Copies a scalar, or an array of scalars.
fn json_value(value: JsonValue<'_>) -> Value {
    match value.kind() {
        JsonKind::Array if value.as_json().len() <= MOST * LONGEST_TEXT => {
            let elements = value.elements();
            let is_flat = |one: &JsonValue<'_>| !matches!(one.kind(), JsonKind::Array | JsonKind::Object);
            elements
                .iter()
                .take(MOST)
                .map(|one| if is_flat(one) { json_value(*one) } else { LEFT_OUT.into() })
                .collect()
        }
        JsonKind::String => value.as_str().map_or(Value::Null, |text| text_value(&text)),
        JsonKind::Bool => value.as_bool().map_or(Value::Null, Value::from),
        JsonKind::Number if value.as_json().len() <= 32 => value.deserialize().unwrap_or(Value::Null),
        JsonKind::Null => Value::Null,
        _ => Value::from(LEFT_OUT),
    }
}

fn text_value(text: &str) -> Value {
    Value::String(cut(text).into())
}

/// Cuts a text, and masks it if a secret shows in it.
fn cut(text: &str) -> Box<str> {
    if secrets::spans(text).is_empty() { shortened(text) } else { "(masked)".into() }
}

/// Cuts an id, and masks the secrets that show in it: what stands beside them, and how many bytes each has, still tells whose
/// decision it was.
fn id(text: &str) -> Box<str> {
    let mut shown = String::new();
    let mut from = 0;
    for span in secrets::spans(text) {
        shown.push_str(text.get(from..span.start).unwrap_or_default());
        shown.push_str(&format!("(masked {})", span.len()));
        from = span.end;
    }
    if from == 0 {
        return shortened(text);
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shortened(&shown)
}

fn shortened(text: &str) -> Box<str> {
    if text.len() <= LONGEST_TEXT {
        return text.into();
    }
    let end = text.floor_char_boundary(LONGEST_TEXT);
    let (start, _) = text.split_at(end);
    format!("{start}…").into()
}

/// Writes a text so that it stays on its line and shows what it is: control characters, and those that turn the direction of
/// writing, as escapes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_unsafe(c) { write!(f, "{}", c.escape_unicode())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// Tells whether a character could change how a log is read.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
