use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::json::{JsonKind, JsonObject};
use sekisho_core::{AccessRequest, ConfigError, Denial, Obligation};

/// Is what the annotations of one policy ask for.
#[derive(Debug, Default)]
pub(super) struct Demands {
    pub(super) obligations: Vec<Obligation>,
    pub(super) advice: Option<Arc<str>>,
    pub(super) step_up: Option<StepUp>,
}

/// Asks for a stronger or a fresher authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepUp {
    acr_values: Vec<String>,
    max_age: Option<Duration>,
}

const KNOWN: [&str; 8] = ["id", "step_up", "max_age", "redact", "log", "obligation", "obligations", "advice"];
/// As for rules in Rust.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
const PATHS: &str = "names of members, or several with a dot between them, in no other notation";
const MAX_VALUE: usize = 4096;
const MAX_OBLIGATIONS: usize = 16;

impl Demands {
    /// Reads the annotations of one policy. One that is not known, by us or to the application (`others`), may be a
    /// misspelt obligation, and is refused.
    pub(super) fn read<'a>(
        annotations: impl Iterator<Item = (&'a str, &'a str)>,
        others: &BTreeSet<Box<str>>,
    ) -> Result<Self, ConfigError> {
        let mut demands = Self::default();
        let mut acr_values = None;
        let mut max_age = None;
        for (name, value) in annotations {
            if !KNOWN.contains(&name) {
                if others.contains(name) {
                    continue;
                }
                return Err(ConfigError::new(format!("the annotation `@{}` is unknown", name.escape_debug())));
            }
            let malformed = |right: &str| ConfigError::new(format!("`@{name}` must be {right}"));
            if value.is_empty() || value.len() > MAX_VALUE {
                return Err(malformed("a text of 1 to 4096 bytes"));
            }
            match name {
                "step_up" => {
                    acr_values = Some(words(value).ok_or_else(|| malformed("`acr` values, one space between"))?)
                }
                "max_age" => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let seconds = value.parse().ok().filter(|_| digits);
                    max_age = Some(Duration::from_secs(seconds.ok_or_else(|| malformed("whole seconds"))?));
                }
                "redact" => {
                    let fields = words(value).ok_or_else(|| malformed("names of fields, one space between"))?;
                    let parameters = write(&serde_json::json!({ "fields": fields }))?;
                    let redact = Obligation::new(Obligation::REDACT).with_parameters(parameters);
                    redact.redactions().ok_or_else(|| malformed(PATHS))?;
                    demands.obligations.push(redact);
                }
                "log" => {
                    let parameters = write(&serde_json::json!({ "message": value }))?;
                    demands.obligations.push(Obligation::new(Obligation::LOG).with_parameters(parameters));
                }
                "obligation" => {
                    let named = words(value).filter(|words| words.len() == 1);
                    named.ok_or_else(|| malformed("one name; for parameters, use `@obligations`"))?;
                    demands.obligations.push(Obligation::new(value));
                }
                "obligations" => demands.read_object(value)?,
                "advice" => demands.advice = Some(value.into()),
                _ => {}
            }
        }
        if acr_values.is_some() || max_age.is_some() {
            let step_up = StepUp { acr_values: acr_values.unwrap_or_default(), max_age };
            demands.obligations.push(step_up.obligation()?);
            demands.step_up = Some(step_up);
        }
        if demands.obligations.len() > MAX_OBLIGATIONS {
            return Err(ConfigError::new(format!("a policy has at most {MAX_OBLIGATIONS} obligations")));
        }
        Ok(demands)
    }

    /// Reads `{"name": {parameters}, "other": null}`.
    fn read_object(&mut self, value: &str) -> Result<(), ConfigError> {
        let malformed = || {
            ConfigError::new("`@obligations` must be a JSON object: of each obligation the name, and an object or null")
        };
        let named = JsonObject::parse(value.as_bytes().to_vec()).map_err(|error| malformed().with_source(error))?;
        if named.is_empty() {
            return Err(malformed());
        }
        for (name, parameters) in named.iter() {
            if words(name).is_none_or(|words| words.len() != 1) {
                return Err(malformed());
            }
            if name == Obligation::STEP_UP {
                // One way to say it, which is checked.
                return Err(ConfigError::new("to step up is demanded by `@step_up` and `@max_age`"));
            }
            let obligation = match parameters.kind() {
                JsonKind::Null => Obligation::new(name),
                JsonKind::Object => {
                    let parameters = JsonObject::parse(parameters.as_json().as_bytes().to_vec());
                    Obligation::new(name).with_parameters(parameters.map_err(|error| malformed().with_source(error))?)
                }
                _ => return Err(malformed()),
            };
            if name == Obligation::REDACT && obligation.redactions().is_none() {
                return Err(ConfigError::new(format!("the `fields` of `redact` in `@obligations` must be {PATHS}")));
            }
            self.obligations.push(obligation);
        }
        Ok(())
    }
}

impl StepUp {
    fn obligation(&self) -> Result<Obligation, ConfigError> {
        let mut parameters = serde_json::Map::new();
        if !self.acr_values.is_empty() {
            parameters.insert("acr_values".into(), self.acr_values.clone().into());
        }
        if let Some(age) = self.max_age {
            parameters.insert("max_age".into(), age.as_secs().into());
        }
        Ok(Obligation::new(Obligation::STEP_UP).with_parameters(write(&parameters)?))
    }

    /// Returns what to tell the caller, or `None` if she has already done what is asked for.
    pub(super) fn denial(&self, request: &AccessRequest<'_>) -> Option<Denial> {
        let Self { acr_values, max_age } = self;
        let held = request.subject().authentication_context();
        let is_strong = acr_values.is_empty() || held.is_some_and(|held| acr_values.iter().any(|value| *value == held));
        let is_fresh = max_age.is_none_or(|age| {
            // A time that lies further ahead than clocks differ is no proof of anything.
            let (at, now) = (request.subject().authenticated_at(), request.now());
            at.is_some_and(|at| at <= now.saturating_add(CLOCK_SKEW) && now.since(at) <= age)
        });
        if is_strong && is_fresh {
            return None;
        }
        let acr_values = (!acr_values.is_empty()).then(|| acr_values.join(" ").into());
        Some(Denial::InsufficientAuthentication { acr_values, max_age: *max_age })
    }
}

/// Splits at single spaces; `None` for white space of another kind, control characters, and nothing at all.
fn words(text: &str) -> Option<Vec<String>> {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let is_word = |word: &String| !word.is_empty() && !word.chars().any(|c| c.is_whitespace() || c.is_control());
    words.iter().all(is_word).then_some(words)
}

fn write<T: serde::Serialize>(value: &T) -> Result<JsonObject, ConfigError> {
    JsonObject::from_serialize(value)
        .map_err(|error| ConfigError::new("parameters cannot be written").with_source(error))
}

#[cfg(test)]
mod tests {
    use sekisho_core::dangerous::PrincipalBuilder;
    use sekisho_core::{Resource, UnixSeconds};

    use super::*;

    fn read(annotations: &[(&str, &str)]) -> Result<Demands, ConfigError> {
        Demands::read(annotations.iter().copied(), &BTreeSet::from(["team".into()]))
    }

    #[test]
    fn what_may_be_a_misspelt_obligation_is_refused() {
        for annotations in [
            [("obligaton", "redact")],
            [("stepup", "gold")],
            [("Redact", "iban")],
            [("step_up", "")],
            [("step_up", "gold  silver")],
            [("step_up", " gold")],
            [("step_up", "gold\tsilver")],
            [("max_age", "-1")],
            [("max_age", "+1")],
            [("max_age", "5m")],
            [("max_age", "99999999999999999999999")],
            [("redact", "a\nb")],
            [("redact", "iban,notes")],
            [("redact", "iban, notes")],
            [("redact", "/customer/iban")],
            [("redact", "$.iban")],
            [("redact", "lines[].price")],
            [("redact", "lines.0.price")],
            [("redact", "*.iban")],
            [("redact", "customer..iban")],
            [("obligations", r#"{"redact":{"fields":["iban,notes"]}}"#)],
            [("obligations", r#"{"redact":{"fields":["$.iban"]}}"#)],
            [("obligations", r#"{"redact":null}"#)],
            [("log", "")],
            [("obligation", "two words")],
            [("obligations", "redact")],
            [("obligations", "{}")],
            [("obligations", r#"{"redact":["iban"]}"#)],
            [("obligations", r#"{"redact":true}"#)],
            [("obligations", r#"{"a b":null}"#)],
            [("obligations", r#"{"mask":{"a":1,"a":2}}"#)],
            [("obligations", r#"{"step_up":{}}"#)],
        ] {
            assert!(read(&annotations).is_err(), "{annotations:?}");
        }
        let long = "x".repeat(MAX_VALUE + 1);
        assert!(read(&[("log", &long)]).is_err());
        let many: serde_json::Map<_, _> =
            (0..=MAX_OBLIGATIONS).map(|n| (format!("o{n}"), serde_json::Value::Null)).collect();
        assert!(read(&[("obligations", &serde_json::Value::Object(many).to_string())]).is_err());
    }

    #[test]
    fn every_form_becomes_an_obligation() {
        let demands = read(&[
            ("id", "x"),
            ("team", "billing"),
            ("step_up", "gold silver"),
            ("max_age", "300"),
            ("redact", "iban customer.notes"),
            ("log", "read by support"),
            ("obligation", "watermark"),
            ("obligations", r#"{"mask":{"with":"*"},"notify":null}"#),
            ("advice", "ask your manager"),
        ])
        .unwrap();
        let shown: Vec<_> = demands
            .obligations
            .iter()
            .map(|one| format!("{} {}", one.id(), one.parameters().map_or("-", JsonObject::as_str)))
            .collect();
        assert_eq!(
            shown,
            [
                r#"redact {"fields":["iban","customer.notes"]}"#,
                r#"log {"message":"read by support"}"#,
                "watermark -",
                r#"mask {"with":"*"}"#,
                "notify -",
                r#"step_up {"acr_values":["gold","silver"],"max_age":300}"#,
            ]
        );
        assert_eq!(demands.advice.as_deref(), Some("ask your manager"));
    }

    #[test]
    fn whoever_has_stepped_up_is_not_asked_to_again() {
        let step_up = read(&[("step_up", "gold"), ("max_age", "300")]).unwrap().step_up.unwrap();
        let denial = |acr: &str, at: u64| {
            let caller =
                PrincipalBuilder::new("https://id.example", "alice").with_claim("acr", acr).with_claim("auth_time", at);
            let caller = caller.build().unwrap();
            step_up.denial(&AccessRequest::new(&caller, "read", Resource::new("order", "1"), UnixSeconds::new(1000)))
        };
        assert_eq!(denial("gold", 700), None);
        assert_eq!(denial("gold", 1060), None);
        for (acr, at) in [("gold", 699), ("gold", 1061), ("silver", 1000), ("", 1000)] {
            let lacking = Denial::InsufficientAuthentication {
                acr_values: Some("gold".into()),
                max_age: Some(Duration::from_secs(300)),
            };
            assert_eq!(denial(acr, at), Some(lacking), "{acr} {at}");
        }
    }
}
