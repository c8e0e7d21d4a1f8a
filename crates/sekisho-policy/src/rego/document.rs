//! The input document as the engine's own value, without writing and reading it as text.

use std::collections::BTreeMap;

use regorus::Value;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Failure, FailureKind};

use super::scan::has_large_number;
use crate::input::{InputOptions, MAX_INPUT_BYTES, attributes, too_large};

/// Makes the value that [`InputOptions::write`] writes.
pub(super) fn input(options: &InputOptions, request: &AccessRequest<'_>) -> Result<Value, Failure> {
    let attributes = attributes(request)?;
    let (principal, resource) = (request.subject(), request.resource());
    let parts = [request.context(), request.action_properties(), attributes.as_ref()];
    let length: usize = parts.into_iter().flatten().map(|part| part.as_str().len()).sum();
    if length > MAX_INPUT_BYTES {
        return Err(too_large());
    }

    let mut claims = Members::default();
    for name in options.claims() {
        if let Some(value) = principal.claims().get(name) {
            claims.put(name, json(value.as_json())?);
        }
    }
    let mut subject = Members::default();
    subject.put("type", request.subject_kind());
    subject.put("id", principal.subject());
    subject.put("issuer", principal.issuer());
    if let Some(client) = principal.client() {
        subject.put("client", client);
    }
    if let Some(tenant) = principal.tenant() {
        subject.put("tenant", tenant);
    }
    subject.put("roles", principal.roles().iter().map(|role| Value::from(&**role)).collect::<Vec<_>>());
    subject.put("scopes", principal.scopes().map(Value::from).collect::<Vec<_>>());
    subject.put("properties", claims.0);

    let mut action = Members::default();
    action.put("name", request.action());
    action.put_json("properties", request.action_properties())?;
    let mut thing = Members::default();
    thing.put("type", resource.kind());
    thing.put("id", resource.id());
    thing.put_json("properties", attributes.as_ref())?;

    let mut document = Members::default();
    document.put("subject", subject.0);
    document.put("action", action.0);
    document.put("resource", thing.0);
    document.put_json("context", request.context())?;
    document.put("now", request.now().as_secs());
    Ok(document.0.into())
}

#[derive(Default)]
struct Members(BTreeMap<Value, Value>);

impl Members {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    fn put_json(&mut self, name: &str, object: Option<&JsonObject>) -> Result<(), Failure> {
        if let Some(object) = object {
            self.put(name, json(object.as_str())?);
        }
        Ok(())
    }
}

fn json(text: &str) -> Result<Value, Failure> {
    let failure = || Failure::new(FailureKind::Misconfigured, "the input of a policy cannot be read by the engine");
    if has_large_number(text) {
        return Err(failure());
    }
    Value::from_json_str(text).map_err(|_| failure())
}
