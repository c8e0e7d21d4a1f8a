//! Which members must not be shown, and how they are taken out.

use serde_json::Value;

use crate::json::{JsonKind, JsonValue};
use crate::{Decision, Obligation};

use super::duty::members;

/// Bounds the paths of one obligation, the bytes of one, and its steps.
const MAX_PATHS: usize = 256;
const MAX_BYTES: usize = 256;
const MAX_STEPS: usize = 16;

/// Reads the paths that one obligation names; `None` if it cannot be read.
pub(super) fn paths(obligation: &Obligation) -> Option<Vec<String>> {
    let [fields] = members(obligation, ["fields"])?;
    let fields = fields.filter(|fields| fields.kind() == JsonKind::Array).and_then(JsonValue::as_strings)?;
    let is_bounded = fields.len() <= MAX_PATHS && fields.iter().all(|path| is_path(path));
    is_bounded.then(|| fields.into_iter().map(|path| path.into_owned()).collect())
}

/// Tells whether a path can be read. One in another notation would lead nowhere, and what it means would be shown.
fn is_path(path: &str) -> bool {
    let is_step = |step: &str| {
        !step.is_empty()
            && step.trim() == step
            && !step.bytes().all(|byte| byte.is_ascii_digit())
            && !step.chars().any(|c| c.is_control() || matches!(c, '[' | ']' | '*' | ','))
    };
    path.len() <= MAX_BYTES
        && !path.starts_with(['/', '$'])
        && path.split('.').count() <= MAX_STEPS
        && path.split('.').all(is_step)
}

impl Obligation {
    /// Returns the paths that it names, if it is [`REDACT`](Self::REDACT) and can be read.
    #[must_use]
    pub fn redactions(&self) -> Option<Vec<String>> {
        if self.id() == Self::REDACT { paths(self) } else { None }
    }
}

/// Reads the paths of all obligations of a decision.
pub(super) fn all_paths(decision: &Decision) -> Option<Vec<String>> {
    let obligations = decision.obligations().iter().filter(|one| one.id() == Obligation::REDACT);
    Some(obligations.map(paths).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Takes out what a path leads to.
pub(super) fn remove(value: &mut Value, path: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, path)),
        Value::Object(members) => {
            members.remove(path);
            // A member's own name may have dots in it: each way to read the path is gone.
            for (at, _) in path.match_indices('.') {
                let (Some(step), Some(rest)) = (path.get(..at), path.get(at + 1..)) else { continue };
                if let Some(member) = members.get_mut(step) {
                    remove(member, rest);
                }
            }
        }
        _ => {}
    }
}
